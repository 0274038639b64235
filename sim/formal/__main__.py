# SPDX-License-Identifier: Apache-2.0
"""``make formal``: proves every claim, plants every defect, prints each verdict as it comes, then a table of units."""

import argparse
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

from rich.table import Table

from host.progress import printer
from sim.formal.defects import Defect
from sim.formal.enumerated import ENUMERATIONS, Enumeration
from sim.formal.proofs import PROOFS, Proof
from sim.formal.prover import LIMIT_SECONDS, Result, Verdict

ALL: dict[str, Proof | Enumeration] = {proof.name: proof for proof in (*PROOFS, *ENUMERATIONS)}


@dataclass
class _Row:
    """What is known of one unit: ``claims`` that are proved, of ``total``, ``bounded`` ones with their cycles,
    ``covers`` reached, defects ``found`` of ``planted``, results that are ``wrong``, seconds of the claims."""

    claims: int = 0
    total: int = 0
    bounded: list[str] = field(default_factory=list)
    covers: int = 0
    found: int = 0
    planted: int = 0
    wrong: int = 0
    seconds: float = 0.0


def main() -> int:
    """Exit status 0 when all is as claimed, 1 when a claim is not proved or a defect not found, 2 when there is no such
    proof."""
    parser = argparse.ArgumentParser(prog="make formal", description=__doc__)
    parser.add_argument("--proof", help="only those whose name contains this")
    parser.add_argument("--long", action="store_true", help="also those that take long")
    parser.add_argument("--no-defects", action="store_true", help="leave out the planted defects")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="most seconds a claim")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    options = parser.parse_args()
    chosen = [p for p in ALL.values() if (options.long or not p.long) and (options.proof or "") in p.name]
    if not chosen:
        print(f"There is no proof {options.proof!r}; there are {', '.join(ALL)}.", file=sys.stderr)
        return 2
    start, rows = time.perf_counter(), {}
    with ProcessPoolExecutor(options.jobs) as pool:
        runs: list[tuple[Proof | Enumeration, object, Future]] = []
        for proof in chosen:
            runs.append((proof, None, pool.submit(_results, proof.name, options.limit)))
            if not options.no_defects:
                runs += [(proof, d, pool.submit(_with_defect, proof.name, d, options.limit)) for d in proof.defects]
        for proof, defect, run in runs:
            for result in run.result() if defect is None else [run.result()]:
                _account(rows.setdefault(proof.name, _Row()), proof.name, defect, result)
    printer().print(_table(rows))
    wrong = sum(row.wrong for row in rows.values())
    print(f"{sum(row.claims for row in rows.values())} claims proved, {wrong} results not as they should be, "
          f"{time.perf_counter() - start:.0f} s")
    return 1 if wrong else 0


def _results(name: str, limit: float) -> list[Result]:
    return list(ALL[name].results(limit))


def _with_defect(name: str, defect: Defect, limit: float) -> Result:
    return ALL[name].with_defect(defect, limit)


def _account(row: _Row, name: str, defect: Defect | None, result: Result) -> None:
    """Prints a result, at once since a long proof may follow, and adds it to its unit's row."""
    good = result.good if defect is None else result.verdict is Verdict.REFUTED
    row.wrong += not good
    row.seconds += result.seconds
    what = result.claim if defect is None else f"defect: {defect.what}"
    if defect is not None:
        row.planted, row.found = row.planted + 1, row.found + good
    elif result.verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        row.covers += result.verdict is Verdict.REACHED
    else:
        row.total += 1
        row.claims += result.verdict is Verdict.PROVED
        if result.verdict is not Verdict.PROVED:
            row.bounded.append(f"{result.claim} {result}")
    print(f"{name}: {what}: {result}, {result.seconds:.1f} s{'' if good else '  WRONG'}", flush=True)


def _table(rows: dict[str, _Row]) -> Table:
    table = Table("unit", "proved", "not proved", "covers", "defects refuted", "s", title="formal proofs")
    for name, row in rows.items():
        table.add_row(name, f"{row.claims} of {row.total}", ", ".join(row.bounded), str(row.covers),
                      f"{row.found} of {row.planted}", f"{row.seconds:.0f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
