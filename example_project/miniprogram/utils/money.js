// Amounts are whole numbers of the currency's minor unit, here as on the server: digits, never floating point.
const WITHOUT_MINOR_UNIT = ["JPY", "KRW", "VND", "CLP"];
const SIGNS = {
  en: { CNY: "CN¥", HKD: "HK$", JPY: "¥", KRW: "₩", USD: "US$", GBP: "£", EUR: "€" },
  "zh-Hans": { CNY: "¥", HKD: "HK$", JPY: "JP¥", KRW: "₩", USD: "US$", GBP: "£", EUR: "€" },
};

function inWords(amount, currency, language) {
  const exponent = WITHOUT_MINOR_UNIT.includes(currency) ? 0 : 2;
  const digits = String(Math.abs(amount)).padStart(exponent + 1, "0");
  const whole = digits.slice(0, digits.length - exponent).replace(/\B(?=(\d{3})+$)/g, ",");
  const fraction = exponent ? `.${digits.slice(-exponent)}` : "";
  const sign = (SIGNS[language] || SIGNS.en)[currency] || `${currency} `;
  return `${amount < 0 ? "−" : ""}${sign}${whole}${fraction}`;
}

module.exports = { inWords };
