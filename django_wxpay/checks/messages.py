"""The ids of all checks, what they say, and how to mend it. Numbers are never used again, whatever the level.

No text repeats a value that might be a secret: a key in the wrong setting must not end on a screen.
"""

from django.core import checks

LEVELS = {"E": checks.Error, "W": checks.Warning}

# id: (what is wrong, how to mend it)
TABLE = {
    # The dictionary and its merchants
    "E001": ("{where} must be a dictionary, not {kind}.", "See the settings reference for its form."),
    "W002": (
        "WXPAY names no merchants: nothing can be asked of WeChat Pay.",
        'Add WXPAY = {{"MERCHANTS": {{"default": {{…}}}}, "NOTIFY_URL_BASE": …}} to the settings.',
    ),
    "E003": ("{where} has an unknown setting {name!r}.", "{hint}"),
    "E004": (
        "The merchant alias {alias!r} cannot be part of an address.",
        "Use letters, digits, hyphens and underscores, at most 32.",
    ),
    "E005": ("{where}['MODE'] is none of {known}.", "Use one of these."),
    "E006": ("{where}['REGION'] is none of {known}.", "Use one of these."),
    "E007": ("{where} lacks {names}.", "They are shown in the merchant platform: account centre, API security."),
    "E008": ("{where}[{name!r}] is no merchant number.", "A merchant number has digits only, at most 32, as text."),
    "E009": ("{where}[{name!r}] is no appid.", "An appid looks like wx0123456789abcdef."),
    "E010": (
        "{where}[{name!r}] names a file that cannot be read ({why}).",
        "Give the path of the .pem file, readable by this process, or the text of the key itself.",
    ),
    "E011": (
        "{where}['PRIVATE_KEY'] cannot be used. {why}",
        "Use apiclient_key.pem, made when the API certificate was requested; not the certificate.",
    ),
    "E012": ("{where}['PRIVATE_KEY'] has {bits} bits only.", "WeChat Pay signs with keys of 2048 bits."),
    "E013": (
        "{where}['SERIAL_NO'] is no certificate serial number.",
        "It has up to 40 hexadecimal digits: openssl x509 -in apiclient_cert.pem -noout -serial",
    ),
    "E014": (
        "{where}[{name!r}] must have exactly 32 bytes; it has {length}.",
        "It is the APIv3 key set in the merchant platform, not the key of the older API, and without a line end.",
    ),
    "E015": ("{where} has {present} without {missing}.", "WeChat Pay's public key and its id belong together."),
    "E016": (
        "{where}['PUBLIC_KEY_ID'] is no public key id.",
        "It begins with PUB_KEY_ID_ and is shown beside the key in the merchant platform.",
    ),
    "E017": (
        "{where}['PUBLIC_KEY'] cannot be used. {why}",
        "Use pub_key.pem of the merchant platform, WeChat Pay's public key.",
    ),
    "E018": (
        "{where} trusts nobody: CERTIFICATES is False, and there is no PUBLIC_KEY.",
        "Leave CERTIFICATES out, or set PUBLIC_KEY_ID and PUBLIC_KEY; else no answer could be verified.",
    ),
    "E019": (
        "{where}['MERCHANT_CATEGORY_CODE'] is no merchant category code.",
        "It has four digits, as text, such as \"5734\".",
    ),
    "W020": (
        "{where} has no MERCHANT_CATEGORY_CODE: deductions and quick payments that name none will fail.",
        "Set the four digits that were agreed when the merchant was approved.",
    ),
    "E021": ("{where}[{name!r}] must be a positive number.", "It is a time in seconds, such as 3."),
    "E022": (
        "{where}[{name!r}] is not what it should be: {should}.",
        "HOST is a host name or base URL, BACKUP_HOSTS a list of them, PROXIES a dictionary of requests.",
    ),
    "E023": (
        "{where}['TRANSPORT'] cannot be used ({why}).",
        "It is a requests adapter, or the dotted path of a callable that makes one. Only tests need it.",
    ),
    "W024": (
        "The merchants {aliases} have the same number and sub-merchant.",
        "One event would be known twice or at the wrong alias: keep one of them.",
    ),
    "E025": (
        "{where}['PUBLIC_KEY'] is the public half of this merchant's own PRIVATE_KEY.",
        "It must be WeChat Pay's public key: whoever has yours could not be told from WeChat Pay.",
    ),
    "W026": ("{where}[{name!r}] has no meaning in {mode} mode.", "Remove it, or choose another MODE."),
    "E027": ("{where}[{name!r}] must be text, not {kind}.", "Write it in quotes: numbers lose leading zeros."),
    "E028": ("{where}[{name!r}] must be True or False, not {kind}.", "A text such as \"False\" counts as true."),
    "E029": ("WXPAY[{name!r}] must be a positive whole number.", "See the settings reference for its unit."),
    "E054": (
        "The merchants {aliases} have the same number, but not the same {names}.",
        "These belong to the number: what one alias is told, the other could not open or would take for its own.",
    ),
    "E055": (
        "{where}['PROXIES'] has no proxy for {host}: requests would go there directly.",
        "Its keys are \"https\", \"all\" or one host, \"https://apihk.mch.weixin.qq.com\".",
    ),
    "E056": (
        "{where}['CA_BUNDLE'] is no readable file of certificates.",
        "Give the path of a PEM file with the CA certificates to trust instead of the usual ones.",
    ),
    "E063": (
        "{where}['SERVICE_ID'] is no PayScore service.",
        "It has digits only, 32 as a rule, as text: numbers lose leading zeros.",
    ),
    "E064": (
        "{where}[{name!r}] must be a whole number, 0 or more.",
        "WeChat Pay's operations name the largest values of a service; 0 leaves them unchecked here.",
    ),
    "W065": (
        "{where}[{name!r}] has no meaning for a global merchant.",
        "Remove it, or set REGION to \"mainland\": only there are PayScore and individual payees.",
    ),
    "E066": (
        "{where}[{name!r}] names a host of the other region than {region}.",
        "Global merchants speak to apihk.mch.weixin.qq.com, mainland ones to api.mch.weixin.qq.com; their backup is "
        "api2.mch.weixin.qq.com.",
    ),
    "E067": (
        "{where}['PAYEE_SIGN_FORM'] must be \"A\" or \"B\".",
        "A signs appid, time, nonce and package, as the API's page says; B the five lines of the guide.",
    ),
    # Addresses
    "E030": (
        "WXPAY['NOTIFY_URL_BASE'] is missing: WeChat Pay could not tell us anything.",
        "Set the public address of our notify/ route, such as https://shop.example/wxpay/notify/.",
    ),
    "E031": (
        "WXPAY['NOTIFY_URL_BASE'] is no plain address: {why}.",
        "WeChat Pay takes absolute addresses in ASCII, without query, fragment or user name.",
    ),
    "E032": (
        "WXPAY['NOTIFY_URL_BASE'] is not https.",
        "WeChat Pay sends notifications to https only; serve the shop with a valid certificate.",
    ),
    "W033": (
        "WXPAY['NOTIFY_URL_BASE'] is not https; tolerated because of DEBUG.",
        "WeChat Pay sends notifications to https only: a tunnel with https helps while developing.",
    ),
    "E034": (
        "The notification address of merchant {alias!r} has {length} characters; WeChat Pay takes 256.",
        "Choose a shorter NOTIFY_URL_BASE.",
    ),
    "E035": (
        "The addresses of django_wxpay are not in ROOT_URLCONF.",
        "Add path(\"wxpay/\", include(\"django_wxpay.urls\")) to the project's urlpatterns.",
    ),
    "E036": (
        "WXPAY['NOTIFY_URL_BASE'] does not lead to our notify/ route: {path} is another view, or none.",
        "With the present urlpatterns the route is {route}; the base is what stands before the alias.",
    ),
    "W037": (
        "WXPAY['NOTIFY_URL_BASE'] is an address of this machine or network: WeChat Pay cannot reach it.",
        "Use a public host name, or the sandbox (HOST) while developing.",
    ),
    "W057": (
        "The host of WXPAY['NOTIFY_URL_BASE'], {host}, is not in ALLOWED_HOSTS: notifications would be answered 400.",
        "Add it. Silence this if a proxy before Django sends another Host that is there.",
    ),
    "W058": (
        "SECURE_SSL_REDIRECT would answer notifications with a redirect, which WeChat Pay does not follow.",
        "Behind a proxy that ends TLS, set SECURE_PROXY_SSL_HEADER; without one, silence this.",
    ),
    # Surroundings
    "E040": (
        "WXPAY['CHECKOUT'] cannot be used ({why}).",
        "It is the dotted path of a class with contract_offer(request, key); see django_wxpay.checkout.Checkout.",
    ),
    "W041": (
        "Celery beat is not told of {names}.",
        "CELERY_BEAT_SCHEDULE = {{**django_wxpay.beat.BEAT_SCHEDULE, …}}: without these, open rows stay open.",
    ),
    "W042": (
        "No Celery app of this project is in use: tasks would go to a broker that was never chosen.",
        "Import the project's Celery app in its __init__.py, as Celery's guide for Django says.",
    ),
    "E043": ("USE_TZ is False.", "All times are stored with their zone: set USE_TZ = True."),
    "W044": (
        "The SQLite database {alias!r} does not begin transactions as IMMEDIATE.",
        "Set OPTIONS[\"transaction_mode\"] = \"IMMEDIATE\" and a timeout: reading and then writing fails otherwise.",
    ),
    "W045": (
        "The SQLite database {alias!r} does not use a write-ahead log.",
        "Set OPTIONS[\"init_command\"] = \"PRAGMA journal_mode=WAL;\", so that readers and a writer do not wait.",
    ),
    "W046": (
        "The database {alias!r} connects anew for each request: CONN_MAX_AGE is 0.",
        "Set CONN_MAX_AGE = 60 or use a pool: notifications and tasks are many and short.",
    ),
    "W047": (
        "The database {alias!r} compares text blind to case or trailing spaces ({collations}).",
        "Numbers and openids differ by case: use the collation utf8mb4_nopad_bin (MariaDB) or utf8mb4_0900_bin.",
    ),
    "W059": (
        "CELERY_TASK_ALWAYS_EAGER is on: what is planned stays planned until a worker or you send it.",
        "Leave it out and run a worker and beat. Tests need it as little, see the how-to on testing your shop.",
    ),
    "E060": (
        "The models of django_wxpay are written to several databases ({databases}).",
        "An order, its operation and its transition are one transaction: the router must name one database for all.",
    ),
    # Only manage.py check --deploy
    "W048": (
        "The database {alias!r} has no connect_timeout: while it is down, notifications are not answered in time.",
        "Set OPTIONS[\"connect_timeout\"] = 3; WeChat Pay waits five seconds.",
    ),
    "E050": ("WXPAY names no merchants, or none that is complete.", "Fill WXPAY['MERCHANTS'] before you deploy."),
    "E051": (
        "{where} does not speak to WeChat Pay: {name} names something else.",
        "Remove it: a sandbox confirms payments that were never made.",
    ),
    "W052": (
        "{where} believes refusals that are not signed (TRUST_UNSIGNED_ERRORS).",
        "Remove it, unless WeChat Pay's answers reach you through something that strips headers.",
    ),
    "E061": (
        "{where}[{name!r}] is not https.",
        "Leave the scheme out, or write https: what is asked names people and their payments.",
    ),
    "W062": (
        "Statements would be kept where files are served from ({why}).",
        "They name openids: give STORAGES[\"wxpay_bills\"] a private place, see the how-to on keeping the books.",
    ),
    # While it runs
    "W053": (
        "This machine's clock is {seconds} s {side} WeChat Pay's, as last seen for the merchant {merchant!r}.",
        "Set the clock (NTP): beyond 300 s every message is refused, on both sides. Then run wxpay_doctor.",
    ),
}  # fmt: skip


def found(number: str, **values: object) -> checks.CheckMessage:
    """The message of that id, with its gaps filled."""
    text, hint = TABLE[number]
    return LEVELS[number[0]](text.format(**values), hint=hint.format(**values), id=f"wxpay.{number}")
