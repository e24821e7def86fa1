import ast
from pathlib import Path

import django_wxpay.sandbox

ROOT = Path(django_wxpay.sandbox.__file__).parent


def test_the_mechanism_imports_no_subject():
    """Only for annotations it knows the emulator that puts all together."""
    outward = []
    for path in sorted((ROOT / "engine").glob("*.py")):
        tree = ast.parse(path.read_text())
        outward += [
            (path.name, node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level > 1 and node.module != "emulator"
        ]
        at_run_time = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level > 1]
        outward += [(path.name, node.module) for node in at_run_time]
    assert outward == []
