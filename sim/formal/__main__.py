# SPDX-License-Identifier: Apache-2.0
"""``make formal``: proves every claim, plants every defect, prints unit, claim, verdict and time."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from rich.table import Table

from host.progress import printer
from sim.formal.proofs import PROOFS, Proof
from sim.formal.prover import LIMIT_SECONDS, Result, Verdict


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
    chosen = [p for p in PROOFS if (options.long or not p.long) and (options.proof or "") in p.name]
    if not chosen:
        print(f"There is no proof {options.proof!r}; there are {', '.join(p.name for p in PROOFS)}.", file=sys.stderr)
        return 2
    start = time.perf_counter()
    table = Table("unit", "claim", "result", "s", title="formal proofs")
    failed = proved = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = [(p, None, pool.submit(_results, p, options.limit)) for p in chosen]
        if not options.no_defects:
            runs += [(p, d, pool.submit(p.with_defect, d, options.limit)) for p in chosen for d in p.defects]
        for proof, defect, run in runs:
            for result in run.result() if defect is None else [run.result()]:
                good = proof.acceptable(result) if defect is None else result.verdict is Verdict.REFUTED
                proved += result.verdict is Verdict.PROVED and defect is None
                failed += not good
                what = result.claim if defect is None else f"defect: {defect.what}"
                # At once, since a long proof may follow; the table comes at the end.
                print(f"{proof.name}: {what}: {result}{'' if good else '  WRONG'}", file=sys.stderr, flush=True)
                table.add_row(proof.name, what, f"{result}{'' if good else '  WRONG'}", f"{result.seconds:.1f}")
    printer().print(table)
    print(f"{proved} claims proved, {failed} results not as they should be, {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def _results(proof: Proof, limit: float) -> list[Result]:
    return list(proof.results(limit))


if __name__ == "__main__":
    sys.exit(main())
