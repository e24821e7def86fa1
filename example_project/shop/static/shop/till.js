// The till's page. A code goes to the shop's own server with a reference of its own and is forgotten; then the server
// is asked each second until it says PAID or NOT_PAID. All words come from the page, so they can be translated.
(() => {
  "use strict";

  const POLL_MS = 1000;
  const OTHERS_POLL_MS = 5000;
  const REPEAT_MS = 3000;
  const CODE_LIVES_MS = 60000; // a request without an answer is repeated so long: later its code is too old anyway
  const BUSY_LONG_MS = 60000; // then the next customer may be served meanwhile
  const LATEST = 8;

  const at = (id) => document.getElementById(id);
  const till = at("till"), outcome = at("outcome"), scan = at("scan");
  const words = till.dataset;
  const language = document.documentElement.lang;
  const csrf = scan.elements.csrfmiddlewaretoken.value;
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  let turn = 0; // each payment that is shown has a number of its own: whoever finds another one has nothing to say
  let began = null; // performance.now() when the shown payment began, null without one that runs
  let isUnanswered = false;

  // Money: digits, never floating point.

  function minorUnits(text, exponent) {
    const match = /^(\d{1,9})(?:\.(\d*))?$/.exec(text.trim());
    if (!match) return { problem: words.noAmount };
    const fraction = (match[2] || "").replace(/0+$/, "");
    if (fraction.length > exponent) return { problem: words.tooPrecise };
    const amount = Number(match[1] + fraction.padEnd(exponent, "0"));
    return amount ? { amount } : { problem: words.noAmount };
  }

  function inWords(amount, currency) {
    const option = [...at("currency").options].find((one) => one.value === currency);
    const exponent = Number(option ? option.dataset.exponent : 2);
    const digits = String(amount).padStart(exponent + 1, "0");
    const whole = digits.slice(0, digits.length - exponent);
    const major = exponent ? `${whole}.${digits.slice(-exponent)}` : whole;
    return new Intl.NumberFormat(language, { style: "currency", currency }).format(major);
  }

  // Asking the shop's server. Never throws: no answer is status 0.

  async function ask(address, sent) {
    const options = { headers: { Accept: "application/json" }, cache: "no-store", credentials: "same-origin" };
    if (sent) {
      Object.assign(options, { method: "POST", body: JSON.stringify(sent) });
      Object.assign(options.headers, { "Content-Type": "application/json", "X-CSRFToken": csrf });
    }
    options.signal = AbortSignal.timeout(sent ? 60000 : 15000);
    try {
      const answer = await fetch(words.payments + address, options);
      const body = await answer.json().catch(() => null);
      const status = answer.ok && !body ? 0 : answer.status;
      return { status, body: body || {}, date: Date.parse(answer.headers.get("Date")) };
    } catch {
      return { status: 0, body: {} };
    }
  }

  // What the cashier sees.

  function show(kind, headline, instruction, sum = "") {
    outcome.dataset.outcome = kind;
    say("headline", headline);
    say("instruction", instruction);
    say("sum", sum);
    say("trouble", "");
    const isBusy = kind === "WAIT"; // one payment at a time: the cashier must not scan again
    for (const control of document.querySelectorAll("#scan input, #scan select, #scan button, #try button")) {
      control.disabled = isBusy;
    }
  }

  function say(id, text) {
    if (at(id).textContent !== text) at(id).textContent = text; // a screen reader hears changes only
  }

  function showPayment(payment) {
    const headline = { PAID: words.paid, NOT_PAID: words.notPaid, WAIT: words.wait }[payment.outcome];
    const link = at("order");
    show(payment.outcome, headline, payment.instruction, inWords(payment.amount_total, payment.currency));
    link.href = words.order.replace("/-/", `/${payment.out_trade_no}/`);
    link.hidden = false;
    list(payment);
  }

  function tick() {
    const passed = began === null ? 0 : performance.now() - began;
    const seconds = Math.max(0, Math.floor(passed / 1000));
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (began !== null) say("passed", seconds ? clock : "");
    at("next").hidden = began === null || isUnanswered || passed < BUSY_LONG_MS;
  }

  function list(payment) {
    const rows = at("latest");
    let row = rows.querySelector(`[data-number="${payment.out_trade_no}"]`);
    if (!row) {
      const newest = rows.querySelector("time");
      if (newest && Date.parse(newest.dateTime) > Date.parse(payment.created_at)) return; // it left the list long ago
      row = at("row").content.firstElementChild.cloneNode(true);
      row.dataset.number = payment.out_trade_no;
      row.querySelector("a").href = `?payment=${payment.out_trade_no}`;
      row.querySelector("time").dateTime = payment.created_at;
      row.querySelector("time").textContent = payment.created_at.slice(11, 19);
      row.querySelector(".number").textContent = inWords(payment.amount_total, payment.currency);
      rows.prepend(row);
      [...rows.children].slice(LATEST).forEach((old) => old.remove());
      at("none").hidden = true;
    }
    const [look, word] = {
      PAID: ["good", words.paid], NOT_PAID: ["bad", words.notPaid], WAIT: ["busy", words.wait],
    }[payment.outcome];
    row.dataset.outcome = payment.outcome;
    row.querySelector(".badge").className = `badge ${look}`;
    row.querySelector(".badge").textContent = word;
  }

  function begin(number = "") {
    turn += 1;
    at("order").hidden = true;
    at("passed").textContent = "";
    history.replaceState(null, "", number ? `?payment=${number}` : location.pathname);
    return turn;
  }

  function end() {
    tick();
    began = null;
    isUnanswered = false;
    at("next").hidden = true;
  }

  // A scan.

  async function charge(request) {
    const mine = begin();
    began = performance.now();
    isUnanswered = true;
    show("WAIT", words.sending, words.sendingInstruction, inWords(request.amount, request.currency));
    outcome.scrollIntoView({ block: "nearest", behavior: "smooth" });
    const answer = await answerTo(request);
    request = null;
    isUnanswered = false;
    if (answer.status === 201 || answer.status === 200) { // 200: our first attempt arrived after all
      history.replaceState(null, "", `?payment=${answer.body.out_trade_no}`);
      return follow(answer.body, mine);
    }
    end();
    if (answer.status && answer.isFirst) return showRefusal(answer);
    show("WAIT", words.wait, words.givenUp);
  }

  // Our server may have got the request though we got no answer. The same reference again never charges twice.
  async function answerTo(request) {
    const sent = performance.now();
    for (let isFirst = true; performance.now() - sent < CODE_LIVES_MS; isFirst = false) {
      const answer = await ask("", request);
      const isAnswered = answer.status && answer.status !== 429 && answer.status < 500;
      if (isAnswered) return { ...answer, isFirst };
      say("instruction", words.unsure);
      await sleep(REPEAT_MS);
    }
    return { status: 0 };
  }

  function showRefusal({ status, body }) {
    let why = body.message || "";
    if (status === 404) why = words.notAllowed;
    if (status === 401 || status === 403) why = words.signIn;
    if (body.field === "auth_code") why = words.badCode;
    show("NOT_PAID", words.notSent, `${why} ${words.nothingCharged}`);
    say("passed", "");
    at("code").focus();
  }

  // A payment under way, of this scan or of before the page was loaded.

  async function follow(payment, mine) {
    while (mine === turn) {
      showPayment(payment);
      if (payment.outcome !== "WAIT") return finish(payment);
      payment = await later(payment.out_trade_no, mine);
    }
  }

  async function later(number, mine) {
    for (;;) {
      await sleep(POLL_MS);
      const { status, body } = await ask(`${number}/`);
      if (status === 200 || mine !== turn) return body;
      say("trouble", status === 401 || status === 403 ? words.signedOut : words.outOfReach);
    }
  }

  function finish(payment) {
    end();
    if (payment.outcome === "PAID") at("amount").value = "";
    at(payment.outcome === "PAID" ? "amount" : "code").focus({ preventScroll: true });
  }

  async function resume(number) {
    const mine = begin(number);
    const { status, body, date } = await ask(`${number}/`);
    if (mine !== turn) return;
    if (status === 404) return show("READY", words.unknown, words.readyInstruction);
    if (status !== 200) {
      show("WAIT", words.wait, words.outOfReach);
      await sleep(REPEAT_MS);
      return mine === turn && resume(number);
    }
    if (body.outcome === "WAIT") began = performance.now() - Math.max(0, date - Date.parse(body.created_at));
    else say("passed", body.created_at.slice(0, 19).replace("T", " ")); // nobody hands over the goods twice
    follow(body, mine);
  }

  async function refreshOthers() {
    const shown = new URLSearchParams(location.search).get("payment");
    for (const row of at("latest").querySelectorAll("[data-outcome=WAIT]")) {
      if (row.dataset.number === shown) continue;
      const { status, body } = await ask(`${row.dataset.number}/`);
      if (status === 200) list(body);
    }
    setTimeout(refreshOthers, OTHERS_POLL_MS);
  }

  // The form.

  function typedAmount() {
    const { value: currency, dataset } = at("currency").selectedOptions[0];
    const { amount, problem } = minorUnits(at("amount").value, Number(dataset.exponent));
    const limit = Number(dataset.limit);
    if (amount <= limit) return { amount, currency };
    complain(problem || `${words.tooMuch} ${inWords(limit, currency)}.`, "amount");
    return null;
  }

  function submit(code) {
    const typed = typedAmount();
    if (!typed) return;
    if (!code) return complain(words.noCode, "code");
    complain("");
    charge({ ...typed, auth_code: code, reference: crypto.randomUUID() });
  }

  function complain(text, field) {
    at("problem").textContent = text;
    at("problem").hidden = !text;
    if (field) at(field).focus();
  }

  scan.addEventListener("submit", (event) => {
    event.preventDefault();
    const code = at("code").value.replace(/\s/g, "");
    at("code").value = "";
    submit(code);
  });

  at("amount").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (at("amount").value.length > 12) at("amount").value = ""; // a code was scanned into the wrong field
    if (typedAmount()) complain("", "code");
  });

  at("next").addEventListener("click", () => {
    begin();
    end();
    show("READY", words.ready, words.readyInstruction);
    at("passed").textContent = "";
    at("amount").value = "";
    at("amount").focus();
  });

  at("try")?.addEventListener("click", (event) => {
    if (event.target.dataset.code) submit(event.target.dataset.code);
  });

  window.addEventListener("beforeunload", (event) => {
    if (isUnanswered) event.preventDefault();
  });

  at("charge").disabled = false; // until now Enter would have sent the form itself
  setInterval(tick, 250);
  setTimeout(refreshOthers, OTHERS_POLL_MS);
  const number = new URLSearchParams(location.search).get("payment");
  if (number) resume(number);
})();
