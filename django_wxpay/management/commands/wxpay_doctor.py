from django.core.management.base import BaseCommand, CommandError

from ... import conf
from ...services import doctor

MARKS = {
    doctor.Verdict.OK: ("✓", "SUCCESS"),
    doctor.Verdict.WARNING: ("!", "WARNING"),
    doctor.Verdict.FAILED: ("✗", "ERROR"),
    doctor.Verdict.NOTE: ("·", "NOTICE"),
}


class Command(BaseCommand):
    help = "Prove the configuration against WeChat Pay: keys, clock, certificates, notify URL. Moves no money."
    requires_system_checks: list[str] = []  # their complaints are among the findings

    def add_arguments(self, parser):
        parser.add_argument("--merchant", action="append", metavar="ALIAS", help="only this one (may be repeated)")
        parser.add_argument("--certificate", default="", metavar="PATH", help="apiclient_cert.pem, to compare keys")
        parser.add_argument("--probe", action="store_true", help="send an unsigned message to our own notify URL")

    def handle(self, *args, merchant, certificate, probe, **options):
        aliases = merchant or conf.aliases()
        if not aliases:
            raise CommandError("WXPAY['MERCHANTS'] is empty: there is nothing to examine.")
        failures = 0
        for alias in aliases:
            self.stdout.write(self.style.MIGRATE_HEADING(f"Merchant {alias}"))
            for finding in doctor.examine(alias, certificate=certificate, probe=probe):
                self._show(finding)
                failures += finding.verdict == doctor.Verdict.FAILED
        if failures:
            raise CommandError(f"{failures} failed.")
        self.stdout.write("All is well.")

    def _show(self, finding):
        mark, style = MARKS[finding.verdict]
        self.stdout.write(f"  {getattr(self.style, style)(mark)} {finding.text}")
        if finding.advice:
            self.stdout.write(f"      {finding.advice}")
