"""The tables of everything that the sandbox remembers. A column that comes later may be NULL: see `engine.store`."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS certificates (
    serial TEXT PRIMARY KEY, private_key TEXT NOT NULL, certificate TEXT NOT NULL,
    effective_at REAL NOT NULL, expires_at REAL NOT NULL, listed INTEGER NOT NULL, signs INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sub_merchants (mchid TEXT NOT NULL, sub_mchid TEXT NOT NULL, sub_appid TEXT NOT NULL,
    PRIMARY KEY (mchid, sub_mchid, sub_appid));
CREATE TABLE IF NOT EXISTS plans (mchid TEXT NOT NULL, plan_id INTEGER NOT NULL, success_notify_url TEXT,
    termination_url TEXT, PRIMARY KEY (mchid, plan_id));
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    channel TEXT NOT NULL, plan_id INTEGER NOT NULL, out_contract_code TEXT NOT NULL, user_display_name TEXT,
    openid TEXT, success_notify_url TEXT, return_url TEXT, created_at REAL NOT NULL, expires_at REAL NOT NULL,
    state TEXT NOT NULL, contract_id TEXT);
CREATE INDEX IF NOT EXISTS sessions_by_code ON sessions (mchid, sub_mchid, out_contract_code);
CREATE TABLE IF NOT EXISTS contracts (
    contract_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    plan_id INTEGER NOT NULL, out_contract_code TEXT NOT NULL, user_display_name TEXT, openid TEXT,
    state TEXT NOT NULL, signed_at REAL, terminated_at REAL, termination_mode TEXT, termination_note TEXT,
    UNIQUE (mchid, sub_mchid, out_contract_code));
CREATE TABLE IF NOT EXISTS orders (
    transaction_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    product TEXT NOT NULL, trade_type TEXT NOT NULL, out_trade_no TEXT NOT NULL, contract_id TEXT, openid TEXT,
    description TEXT, attach TEXT, goods_tag TEXT, merchant_category_code TEXT, device_id TEXT, notify_url TEXT,
    total INTEGER NOT NULL, currency TEXT NOT NULL, payer_total INTEGER, payer_currency TEXT, rate INTEGER,
    trade_state TEXT NOT NULL, created_at REAL NOT NULL, success_at REAL, reversed_at REAL,
    due_at REAL, due_state TEXT, special INTEGER, fingerprint TEXT NOT NULL, promotion TEXT,
    combine_out_trade_no TEXT, individual_auth_id TEXT, UNIQUE (mchid, out_trade_no));
CREATE INDEX IF NOT EXISTS orders_due ON orders (due_at);
CREATE TABLE IF NOT EXISTS refunds (
    refund_id TEXT PRIMARY KEY, transaction_id TEXT NOT NULL, mchid TEXT NOT NULL, sub_mchid TEXT NOT NULL,
    out_trade_no TEXT NOT NULL, out_refund_no TEXT NOT NULL, refund INTEGER NOT NULL, total INTEGER NOT NULL,
    currency TEXT NOT NULL, payer_refund INTEGER, reason TEXT, fund_source TEXT, notify_url TEXT,
    status TEXT NOT NULL, created_at REAL NOT NULL, success_at REAL, due_at REAL, due_status TEXT,
    due_next TEXT, made_elsewhere INTEGER NOT NULL, fingerprint TEXT NOT NULL, promotion TEXT,
    UNIQUE (mchid, out_refund_no));
CREATE INDEX IF NOT EXISTS refunds_by_order ON refunds (transaction_id);
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (due_at);
CREATE TABLE IF NOT EXISTS payscore_plans (
    plan_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    merchant_plan_no TEXT NOT NULL, service_id TEXT NOT NULL, plan_name TEXT NOT NULL, plan_duration INTEGER NOT NULL,
    details TEXT NOT NULL, plan_state TEXT NOT NULL, created_at REAL NOT NULL, stop_at REAL, fingerprint TEXT NOT NULL,
    UNIQUE (mchid, sub_mchid, merchant_plan_no));
CREATE TABLE IF NOT EXISTS sign_plans (
    sign_plan_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    openid TEXT, sub_openid TEXT, merchant_sign_plan_no TEXT NOT NULL, plan_id TEXT NOT NULL, service_id TEXT NOT NULL,
    notify_url TEXT NOT NULL, details TEXT NOT NULL, going INTEGER, package TEXT NOT NULL, sign_state TEXT NOT NULL,
    created_at REAL NOT NULL, package_ends_at REAL NOT NULL, signed_at REAL, over_at REAL, cancelled_at REAL,
    cancel_type TEXT, cancel_reason TEXT, fingerprint TEXT NOT NULL,
    UNIQUE (mchid, sub_mchid, merchant_sign_plan_no));
CREATE INDEX IF NOT EXISTS sign_plans_by_package ON sign_plans (package);
CREATE TABLE IF NOT EXISTS service_orders (
    order_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    out_order_no TEXT NOT NULL, sign_plan_id TEXT NOT NULL, plan_detail_no INTEGER NOT NULL, service_id TEXT NOT NULL,
    openid TEXT, sub_openid TEXT, service_introduction TEXT, attach TEXT, notify_url TEXT NOT NULL, time_range TEXT,
    location TEXT, state TEXT NOT NULL, state_description TEXT, post_payments TEXT, post_discounts TEXT,
    total_amount INTEGER, collection TEXT, created_at REAL NOT NULL, due_at REAL, running_until REAL, special INTEGER,
    fingerprints TEXT NOT NULL, UNIQUE (mchid, out_order_no));
CREATE INDEX IF NOT EXISTS service_orders_due ON service_orders (due_at);
CREATE TABLE IF NOT EXISTS combine_orders (
    prepay_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT NOT NULL, combine_out_trade_no TEXT NOT NULL,
    client TEXT NOT NULL, openid TEXT NOT NULL, notify_url TEXT NOT NULL, trade_scenario TEXT, device_id TEXT,
    prepay_at REAL NOT NULL, expires_at REAL, paying INTEGER NOT NULL, combine_transaction_id TEXT,
    created_at REAL NOT NULL, fingerprint TEXT NOT NULL, UNIQUE (mchid, combine_out_trade_no));
CREATE TABLE IF NOT EXISTS payees (
    mchid TEXT NOT NULL, appid TEXT NOT NULL, openid TEXT NOT NULL, auth_state TEXT NOT NULL, individual_auth_id TEXT,
    operation_at REAL NOT NULL, form TEXT, PRIMARY KEY (mchid, appid, openid));
CREATE TABLE IF NOT EXISTS payee_attempts (
    pre_entrustweb_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT NOT NULL, out_contract_code TEXT NOT NULL,
    client TEXT NOT NULL, openid TEXT, real_name TEXT, created_at REAL NOT NULL, signed_at REAL,
    UNIQUE (mchid, out_contract_code));
CREATE TABLE IF NOT EXISTS tries (mchid TEXT NOT NULL, number TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (mchid, number));
CREATE TABLE IF NOT EXISTS used_codes (code_hash TEXT PRIMARY KEY, mchid TEXT NOT NULL, out_trade_no TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notifications (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, notification_id TEXT UNIQUE NOT NULL, mchid TEXT NOT NULL,
    event_type TEXT NOT NULL, about TEXT NOT NULL, url TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, next_at REAL, fault TEXT, attempts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (next_at);
CREATE TABLE IF NOT EXISTS faults (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, kind TEXT NOT NULL, pattern TEXT NOT NULL,
    method TEXT NOT NULL, skip INTEGER NOT NULL, times INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, mchid TEXT, method TEXT NOT NULL, target TEXT NOT NULL,
    body TEXT, status INTEGER, code TEXT, request_id TEXT, fault TEXT, ignored TEXT);
"""
