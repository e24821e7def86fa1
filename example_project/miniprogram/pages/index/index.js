// The four things a customer can do.
const page = require("../../utils/page");
const request = require("../../utils/request");
const texts = require("../../utils/texts");

const words = texts.words();
const entry = (name, url) => ({ url, title: words[`index_${name}`], more: words[`index_${name}_more`] });

page({
  title: "index_title",

  data: {
    name: "",
    entries: [
      entry("contract", "/pages/contract/contract"),
      entry("course", "/pages/course/course"),
      entry("sell", "/pages/market/market?part=sell"),
      entry("buy", "/pages/market/market?part=buy"),
    ],
  },

  async refresh() {
    const { name } = await request.login();
    this.show({ name });
  },
});
