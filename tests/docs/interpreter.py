"""A Django shell that a test drives: one JSON line {"source"} in, one JSON line {"failed", "report"} out.

Examples are checked as doctests and share their variables, as in one `manage.py shell`. Run as a script.
"""

import doctest
import io
import json
import sys

import django

FLAGS = doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE


def main():
    django.setup()
    variables = {}
    for line in sys.stdin:
        source = json.loads(line)["source"]
        report = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
        test = doctest.DocTestParser().get_doctest(source, {}, "tutorial", "tutorial.md", 0)
        test.globs = variables
        real, sys.stdout = sys.stdout, io.StringIO()
        try:
            failed, _ = runner.run(test, out=report.write, clear_globs=False)
        finally:
            sys.stdout = real
        print(json.dumps({"failed": failed, "report": report.getvalue()}), flush=True)


if __name__ == "__main__":
    main()
