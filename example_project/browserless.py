"""A browser without a screen: pages, links and forms over HTTP, as far as the demo's story needs them."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import requests


class Page(HTMLParser):
    """One answer with its links and forms."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.url, self.status, self.html = response.url, response.status_code, response.text
        self.links: list[str] = []
        self.forms: list[dict] = []
        self._words: list[str] = []
        self._skipping = False
        self.feed(response.text)
        self.text = " ".join(" ".join(self._words).split())

    def link(self, ending: str) -> str:
        """The address of the first link that ends so (a query string aside)."""
        for link in self.links:
            if link.partition("?")[0].endswith(ending):
                return urljoin(self.url, link)
        raise LookupError(f"{self.url} has no link to …{ending}")

    def form(self, *names: str) -> dict:
        """The first form that has all these fields."""
        for form in self.forms:
            if set(names) <= form["fields"].keys():
                return form
        raise LookupError(f"{self.url} has no form with {', '.join(names)}; it says: {self.text[:300]}")

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._skipping = tag in ("script", "style")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "form":
            self.forms.append({"action": given.get("action") or self.url, "fields": {}})
        elif tag in ("input", "textarea", "button", "select") and self.forms and given.get("name"):
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self.forms[-1]["fields"].setdefault(given["name"], given.get("value") or "")

    def handle_data(self, data):
        if not self._skipping:
            self._words.append(data)


class Browser:
    """Somebody with cookies."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def open(self, url: str) -> Page:
        return self._page(self.session.get(url, timeout=60))

    def submit(self, page: Page, form: dict, **values: str) -> Page:
        """Send a form of this page with these values filled in, and follow to where it leads."""
        answer = self.session.post(
            urljoin(page.url, form["action"]),
            data={**form["fields"], **values},
            headers={"Referer": page.url},
            timeout=60,
        )
        return self._page(answer)

    def _page(self, response: requests.Response) -> Page:
        if response.status_code >= 400:
            raise LookupError(f"{response.request.method} {response.url}: {response.status_code} {response.text[:500]}")
        return Page(response)
