"""Simplified Chinese is complete: every translatable text has its translation, the example shop's too, compiled."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest
from django.apps import apps
from django.utils import translation

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = {"gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy"}
EXTRACTION_SECONDS = 120
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")


@pytest.fixture(scope="module", params=["django_wxpay", "example_project/shop"])
def package(request):
    return ROOT / request.param


@pytest.fixture(scope="module")
def catalogue(package):
    return polib.pofile(str(folder_of(package) / "django.po"))


def folder_of(package):
    return package / "locale" / "zh_Hans" / "LC_MESSAGES"


def _key(entry):
    return (entry.msgctxt or "", entry.msgid, entry.msgid_plural or "")


def _texts_in_python(package):
    """What the calls of gettext and its kin name, found without any tool."""
    found = set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        renamed = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
            for alias in node.names
            if alias.name in FUNCTIONS
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in renamed:
                texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                assert texts, f"{path}:{node.lineno}: only plain text can be translated"
                context = texts.pop(0) if renamed[node.func.id].startswith("p") else ""
                found.add((context, texts[0], texts[1] if len(texts) > 1 else ""))
    return found


def test_every_text_in_python_is_in_the_catalogue(package, catalogue):
    missing = _texts_in_python(package) - {_key(entry) for entry in catalogue if not entry.obsolete}
    assert missing == set()


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="GNU gettext is not installed")
def test_a_fresh_extraction_finds_what_the_catalogue_has(package, catalogue, tmp_path):
    folder = tmp_path / package.name
    shutil.copytree(package, folder, ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (folder / "locale").mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "--locale", "zh_Hans", "--verbosity", "0"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=EXTRACTION_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    fresh = polib.pofile(str(folder_of(folder) / "django.po"))
    assert {_key(entry) for entry in fresh} == {_key(entry) for entry in catalogue}


def test_every_text_has_a_translation_that_nobody_doubts(catalogue):
    bare = [entry.msgid for entry in catalogue if not entry.translated()]
    assert bare == []
    assert [entry.msgid for entry in catalogue if "fuzzy" in entry.flags or entry.obsolete] == []


def test_translations_keep_the_placeholders(catalogue):
    broken = []
    for entry in catalogue:
        for text in entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]:
            if set(_PLACEHOLDER.findall(text)) != set(_PLACEHOLDER.findall(entry.msgid)):
                broken.append(entry.msgid)
    assert broken == []


def test_the_compiled_catalogue_is_that_of_the_source(package, catalogue):
    compiled = polib.mofile(str(folder_of(package) / "django.mo"))
    known = {_key(entry): (entry.msgstr, entry.msgstr_plural) for entry in compiled}
    assert known == {_key(entry): (entry.msgstr, entry.msgstr_plural) for entry in catalogue}


@pytest.mark.parametrize(
    ("english", "chinese"), [("Terminate", "解约"), ("deduct", "扣款"), ("reverse", "撤销"), ("Refund", "退款")]
)
def test_django_finds_the_translations(english, chinese):
    with translation.override("zh-hans"):
        assert translation.gettext(english) == chinese


def test_the_shop_says_nothing_otherwise_than_the_app_whose_words_come_first():
    """Django merges catalogues: a word with two meanings needs a context."""
    app, shop = (
        polib.pofile(str(folder_of(ROOT / name) / "django.po")) for name in ("django_wxpay", "example_project/shop")
    )
    meant = {_key(entry): entry.msgstr for entry in app}
    assert [entry.msgid for entry in shop if meant.get(_key(entry), entry.msgstr) != entry.msgstr] == []


def test_no_state_is_translated_as_the_time_at_which_it_began():
    """A column and a state may share a word in English: then the state's has a context."""
    with translation.override("zh-hans"):
        found = [
            f"{model.__name__}.{field.name} {value}: {label}"
            for model in apps.get_app_config("django_wxpay").get_models()
            for field in model._meta.get_fields()
            for value, label in getattr(field, "flatchoices", ())
            if str(label).endswith(("时间", "于"))
        ]
    assert found == []
