// WeChat Pay's package for the authorisation of individual payees. Get it as WeChat Pay's manual says, let the developer
// tools build it ("Tools", "Build npm"), and only this line knows its name.
module.exports = () => require("@tenpay/wechatpay-miniprogram-individual-contracts").default;
