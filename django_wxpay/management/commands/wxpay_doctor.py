from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import conf
from ...services import doctor

MARKS = {
    doctor.Verdict.OK: ("✓", "SUCCESS"),
    doctor.Verdict.WARNING: ("!", "WARNING"),
    doctor.Verdict.FAILED: ("✗", "ERROR"),
    doctor.Verdict.NOTE: ("·", "NOTICE"),
}


class Command(BaseCommand):
    help = (
        "Prove the configuration: database, Celery, and keys, clock, certificates against WeChat Pay. Moves no money."
    )
    requires_system_checks: list[str] = []  # their complaints are among the findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--merchant", action="append", metavar="ALIAS", help="only this one (may be repeated)")
        parser.add_argument("--certificate", default="", metavar="PATH", help="apiclient_cert.pem, to compare keys")
        parser.add_argument("--probe", action="store_true", help="send an unsigned message to our own notify URL")
        parser.add_argument("--skip-workers", action="store_true", help="do not ask Celery's broker and workers")

    def handle(
        self, *args: str, merchant: list[str] | None, certificate: str, probe: bool, skip_workers: bool, **options: Any
    ) -> None:
        aliases = merchant or conf.aliases()
        if not aliases:
            raise CommandError("WXPAY['MERCHANTS'] is empty: there is nothing to examine.")
        verdicts: Counter[doctor.Verdict] = Counter()
        heading = ""
        findings = doctor.examine(aliases, certificate=certificate, probe=probe, workers=not skip_workers)
        for examined, finding in findings:
            if examined != heading:
                heading = examined
                self.stdout.write(self.style.MIGRATE_HEADING(heading))
            self._show(finding)
            verdicts[finding.verdict] += 1
        if failures := verdicts[doctor.Verdict.FAILED]:
            raise CommandError(f"{failures} failed.")
        warnings = verdicts[doctor.Verdict.WARNING]
        self.stdout.write(f"Nothing failed; see the warnings ({warnings})." if warnings else "All is well.")

    def _show(self, finding: doctor.Finding) -> None:
        mark, style = MARKS[finding.verdict]
        self.stdout.write(f"  {getattr(self.style, style)(mark)} {finding.text}")
        if finding.advice:
            self.stdout.write(f"      {finding.advice}")
