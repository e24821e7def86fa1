// Where the shop is, and how patient its customers are. Nothing secret belongs here: everybody can read a mini program.
module.exports = {
  shopUrl: "http://127.0.0.1:8000", // yours: https://, and registered as a domain for requests
  timeoutMs: 30000, // a request to the shop, which may itself wait for WeChat Pay
  askEveryMs: 2000,
  // How long the server is asked after the customer came back, while it does not know. It asks WeChat Pay at most once
  // in three seconds.
  askForMs: 60000, // the client says that it is done
  doubtMs: 10000, // the client does not say
  cancelledMs: 4000, // the client says that it is not
  lateMs: 1000, // the customer is back, but the client's call has not ended: it gets so much time to
};
