# SPDX-License-Identifier: Apache-2.0
"""Night and coverage: jobs have seeds and end in one page, a failed one is named; holes are those of the source."""

import json
import sys

import pytest

from golden.spec.isa import Dest, Opcode, assemble, encode
from sim import nightly
from sim.board.settings import DramSettings
from sim.coverage import __main__ as coverage
from sim.coverage import functional, instrument
from sim.coverage.sources import Coverage, read
from tests.meta.test_rules import ROOT


def test_a_night_has_everything_with_its_seed():
    jobs = nightly.jobs(7, 2)
    text = "\n".join(job.command for job in jobs)
    for part in ("sim.demo", "sim.bench", "sim.stalls", "sim.disturbances", "sim.mutants", "FUZZ_SEED=7", "-m nightly"):
        assert part in text, part
    assert len({job.name for job in jobs}) == len(jobs) and all(job.seed >= 7 for job in jobs)
    assert "--seed 7" in text and "--first 7" in text


def test_a_night_says_what_failed(tmp_path, monkeypatch, capsys):
    good = nightly.Job("good", ("-c", "print('fine')"), 3)
    bad = nightly.Job("bad", ("-c", "import os, sys; print('seed', os.environ['SEED']); sys.exit(4)"), 3, {"SEED": "3"})
    monkeypatch.setattr(nightly, "jobs", lambda seed, scale: [good, bad])
    assert nightly.main(["--out", str(tmp_path), "--workers", "1"]) == 1
    page = (tmp_path / "nightly.md").read_text()
    assert "1 of 2 jobs ended well" in page and "bad: exit status 4" in page and "SEED=3 python -c" in page
    assert nightly.main(["--out", str(tmp_path), "--workers", "1", "--only", "good"]) == 0
    assert nightly.main(["--only", "nothing"]) == 2
    slow = nightly.run(nightly.Job("slow", ("-c", "import time; time.sleep(60)"), 1), limit=1)
    assert slow.status is None and "time limit" in nightly.page([slow], 1, 1)


def test_a_night_that_is_cut_off_has_a_page_of_what_has_ended(tmp_path, monkeypatch):
    good = nightly.Job("good", ("-c", "print('fine')"), 3)
    monkeypatch.setattr(nightly, "jobs", lambda seed, scale: [good, nightly.Job("other", (), 3)])
    monkeypatch.setattr(nightly, "run", lambda job: nightly.Ended(job, 0, 1.0, ("fine",)) if job is good else stopped())
    assert nightly.main(["--out", str(tmp_path), "--workers", "1"]) == 130
    page = (tmp_path / "nightly.md").read_text()
    assert "1 of 1 jobs ended well, 1 have not ended" in page and "| good | 3 | ok |" in page


def stopped():
    raise KeyboardInterrupt


def test_a_night_without_a_cluster(capsys, tmp_path):
    pytest.importorskip("distributed", reason="the cluster's package is an extra")
    assert nightly.main(["--scheduler", "nonsense://here", "--out", str(tmp_path)]) == 2


def test_cover_points_name_the_branches_of_the_source():
    """Each branch of the source has a cover point of its name when it is elaborated, and no other."""
    import subprocess
    program = ("from sim.coverage import instrument; instrument.install()\n"
               "from hw.ctrl.issue_registers import IssueRegisters\nfrom amaranth.back import rtlil\n"
               "print(rtlil.convert(IssueRegisters(), name='dut', emit_src=False))")
    text = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {word.removeprefix("\\") for word in text.split() if word.startswith("\\" + instrument.PREFIX)}
    found = {instrument.place_of(name) for name in names}
    file = read(ROOT / "hw" / "ctrl" / "issue_registers.py")
    assert file.branches and found == {(file.name, line, arm) for line, arm in file.branches}


def test_a_branch_that_no_run_took_is_a_hole():
    file = read(ROOT / "hw" / "ctrl" / "issue_registers.py")
    names = [instrument.PREFIX + f"{file.name.replace('/', '__')}__{line}__{arm}" for line, arm in file.branches]
    record = {"elaborated": [file.name], "points": dict.fromkeys(names, 3), "toggles": [10, 9], "run": "a"}
    full = Coverage.of([record])
    assert not coverage.holes([file], full, {})
    assert coverage.page([file], full, [])[1:] == (100.0, 100.0)
    record["points"][names[0]] = 0
    missing = coverage.holes([file], Coverage.of([record]), {})
    assert len(missing) == 1 and coverage.page([file], Coverage.of([record]), missing)[1] < 100
    waived = {(missing[0].file, missing[0].code, missing[0].arm): "because"}
    assert coverage.holes([file], Coverage.of([record]), waived)[0].waived == "because"


def test_waivers_name_branches_of_the_source():
    for (name, code, _), why in coverage.waivers().items():
        lines = [" ".join(line.split()) for line in (ROOT / "hw" / f"{name}.py").read_text().splitlines()]
        assert code in lines and len(why) > 20, (name, code)


def test_counts_are_read_as_verilator_writes_them():
    lines = ["# SystemC::Coverage-3",
             "C '\x01f\x02dut.v\x01page\x02v_toggle/dut\x01o\x02a__024b[3]:0->1\x01h\x02dut' 5",
             "C '\x01page\x02v_toggle/dut.u\x01o\x02cover___05Fctrl___05Fcsr___05F7___05Ftrue:0->1\x01h\x02dut.u' 2",
             "C '\x01page\x02v_line/dut\x01o\x02block\x01h\x02dut' 9"]
    assert instrument.counts("\n".join(lines)) == [("dut.a$b[3]", 5), ("cover__ctrl__csr__7__true", 2)]
    assert instrument.place_of("cover__ctrl__csr__7__true$12") == ("ctrl/csr", 7, "true")


def test_programs_count_by_class(tmp_path):
    words = [encode(Opcode.LINEAR, dst=int(Dest.OPERAND16), src_wide=1), encode(Opcode.NORM, wide=1),
             encode(Opcode.LINEAR, dst=int(Dest.GATE), packed=1), encode(Opcode.END), encode(Opcode.COPY)]
    found = functional.classes_of(assemble(words))
    assert found == {("LINEAR", "OPERAND16", "16 bit"): 1, ("NORM", "OPERAND", "16 bit"): 1,
                     ("LINEAR", "GATE", "8 bit, packed weights"): 1, ("END", "-", "-"): 1}
    assert set(found) <= set(functional.wanted())
    memories = {"latency": 20}, {"latency": 20, "bytes_per_cycle": 2}, {"latency": 20, "stall": 0.1}
    assert [functional.stall_class(DramSettings(**options)) for options in memories] == list(functional.STALLS)
    (tmp_path / "jobs").mkdir()
    record = {"stall": "slow", "classes": [["END", "-", "-", 4]]}
    (tmp_path / "jobs" / "1.json").write_text(json.dumps(record))
    assert "| END | - | - | 0 | 4 | 0 |" in functional.page(tmp_path)


def test_the_border_of_a_table_is_not_what_a_job_said():
    ended = nightly.Ended(nightly.jobs(1, 1)[0], 0, 1.0, ("│ all │ 3 of 3 │", "└─────┴────────┘"))
    assert "| / all / 3 of 3 / |" in nightly.page([ended], 1, 1)
