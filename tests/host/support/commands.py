# SPDX-License-Identifier: Apache-2.0
"""Results of the command ``edge-moe``, run in process: its facts, or the sentence of its refusal."""

import json


def facts(edge_moe, *words):
    status, out, err = edge_moe(*words, "--json")
    assert status == 0 and "Traceback" not in err, err
    assert len(out.splitlines()) == 1
    return json.loads(out)


def refused(edge_moe, *words, status=2):
    """The one sentence of a refusal."""
    code, out, err = edge_moe(*words)
    assert code == status, err
    assert out == "" and err.startswith("edge-moe: ") and err.count("\n") == 1 and "Traceback" not in err, err
    assert err.rstrip().endswith((".", "?")), err
    return err
