"""What the phone's pages say in Chinese, for whoever's browser prefers it. English is what the templates say."""

from __future__ import annotations

from flask import request

ENGLISH, CHINESE = "en", "zh-Hans"
IN_CHINESE = {
    "{amount} came back": "已退回 {amount}",
    "{count} services, merchant {merchant}": "共 {count} 次服务，商户 {merchant}",
    "A real WeChat would call": "真实的微信会调用",
    "Account": "账户",
    "After you agree, each service is charged once you have used it. You can cancel what is left at any time.": (
        "同意后，每次服务在使用完毕后扣款。未使用的服务可随时取消。"
    ),
    "After you agree, payments for what you sell there go to you. You can withdraw at any time.": (
        "同意后，您在该平台出售商品的货款将直接付给您。您可随时取消授权。"
    ),
    "After you agree, the merchant may charge your WeChat Pay account under plan {plan}.": (
        "同意后，商户可按模板 {plan} 从您的微信支付账户扣款。"
    ),
    "Agree": "同意",
    "Allow this merchant to deduct?": "允许该商户扣款吗？",
    "app": "APP",
    "Auto-debit": "委托代扣",
    "Back to the merchant": "返回商户",
    "Become a payee": "成为收款人",
    "Cancel": "取消",
    "Cancel the plan": "取消计划",
    "cancelled": "已取消",
    "Channel": "渠道",
    "Contract": "协议",
    "Contract code": "商户协议号",
    "Contracts": "协议",
    "Ended contracts": "已终止的协议",
    "form {form}": "形式 {form}",
    "Good for one payment": "仅可付款一次",
    "H5": "H5",
    "in use": "使用中",
    "Individual payee": "个人收款",
    "It is {state}.": "状态：{state}。",
    "It is {state}. Ask the merchant to start again.": "状态：{state}。请让商户重新发起。",
    "JSAPI": "JSAPI",
    "Let it fail": "让支付失败",
    "Let this platform's buyers pay you?": "允许该平台的买家向您付款吗？",
    "Merchant": "商户",
    "mini program": "小程序",
    "not said by the app": "APP 未说明",
    "Not now": "暂不",
    "not used": "未使用",
    "Nothing here yet. Contracts to sign and payments appear as soon as your shop asks for them.": (
        "暂无内容。商户发起签约或支付后会显示在这里。"
    ),
    "Nothing was signed. A real WeChat would call": "未签约。真实的微信会调用",
    "Nothing was signed. Ask the merchant to start again.": "未签约。请让商户重新发起。",
    "Nothing was signed. You may close this page.": "未签约。您可以关闭此页面。",
    "One payment, {count} payees.": "一次付款，{count} 位收款人。",
    "One payment, one payee.": "一次付款，一位收款人。",
    "Order": "订单",
    "Paid by the customers of merchant {merchant}": "由商户 {merchant} 的顾客付款",
    "Pay": "付款",
    "Pay at a till": "付款码",
    "Payees": "个人收款",
    "Payment": "付款",
    "Payments": "付款记录",
    "PayScore plan": "支付分计划",
    "Plan": "计划",
    "Plan number": "模板",
    "Plan {plan}, {channel}, merchant {merchant}": "模板 {plan}，{channel}，商户 {merchant}",
    "Plan {plan}, merchant {merchant}": "模板 {plan}，商户 {merchant}",
    "Plans": "支付分计划",
    "Refuse": "拒绝",
    "Revoke the service": "解除服务授权",
    "sandbox": "沙箱",
    "Scan it with the sandbox's phone": "用沙箱的手机扫码",
    "Scan to sign": "扫码签约",
    "Sign plan": "签约计划",
    "Sign:": "签约：",
    "Signed lines": "签名内容",
    "signed in form {form}": "签名形式 {form}",
    "Terminate": "终止协议",
    "The contract is signed. You may close this page.": "协议已签署。您可以关闭此页面。",
    "The plan is signed. You may close this page.": "计划已签约。您可以关闭此页面。",
    "The user's phone": "用户的手机",
    "There is no such signing session in this sandbox.": "沙箱中没有这个签约会话。",
    "This cannot be opened": "无法打开",
    "This cannot be paid": "无法付款",
    "This page is too old": "页面已过期",
    "This plan is over": "计划已结束",
    "This session is over": "会话已结束",
    "to pay": "待付款",
    "To the sandbox": "前往沙箱",
    "to sign": "待签约",
    "Unpaid": "未付款",
    "Use now, pay after each service?": "先使用，每次服务后付款？",
    "used": "已使用",
    "Waiting for you": "待您处理",
    "web (QR code)": "网页（二维码）",
    "WeChat Pay sandbox": "微信支付沙箱",
    "WeChat Pay shows a QR code here. The sandbox's phone needs no camera.": (
        "微信支付会在这里显示二维码。沙箱的手机不需要摄像头。"
    ),
    "Withdraw": "取消授权",
    "You": "您",
    "You agreed": "您已同意",
    "You refused": "您已拒绝",
}


def language() -> str:
    """Return the language of a page: of those that the browser names, the first that we know, or English."""
    known = {"en": ENGLISH, "zh": CHINESE}
    named = (one.partition("-")[0].lower() for one in request.accept_languages.values())
    return next((known[one] for one in named if one in known), ENGLISH)


def say(text: str) -> str:
    return IN_CHINESE[text] if language() == CHINESE else text
