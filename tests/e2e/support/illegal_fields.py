# SPDX-License-Identifier: Apache-2.0
"""Illegal fields: for every instruction, values that are refused, and the status that says why."""

from golden.spec.activations import BY_CODE
from golden.spec.isa import Dest, Index, Opcode, Region
from golden.spec.machine import NANO
from golden.spec.status import Status

VERSION, CONFIG, OPCODE, FIELD = Status.BAD_VERSION, Status.BAD_CONFIG, Status.BAD_OPCODE, Status.BAD_FIELD
READ, WRITE, LOCAL = Status.RANGE_READ, Status.RANGE_WRITE, Status.RANGE_LOCAL
QUIET = (VERSION, CONFIG, OPCODE, FIELD, LOCAL)
FAR = 1 << 28

WIDE = {"src_wide": 1}
CASES: dict[Opcode, list[tuple[Status, dict]]] = {
    Opcode.BEGIN: [(VERSION, {"magic": 0}), (VERSION, {"abi": 0}), (CONFIG, {"fingerprint": 1}), (FIELD, {"count": 1}),
                   (FIELD, {"count": NANO.program_depth + 1}), (Status.NO_END, {"count": 5})],
    Opcode.LOAD: [(READ, {"offset": FAR}), (LOCAL, {"row": 0xFFFF}), (LOCAL, {"memory": 1, "row": NANO.residual_rows}),
                  (FIELD, {"rows": 0}), (FIELD, {"rows": (1 << 16) + 1}), (LOCAL, {"rows": 1 << 16}),
                  (FIELD, {"region": 3}), (READ, {"region": Region.OUTPUT, "offset": FAR})],
    Opcode.STORE: [(WRITE, {"offset": FAR}), (WRITE, {"offset": (1 << 32) - 1}), (LOCAL, {"row": 0xFFFF}),
                   (LOCAL, {"memory": 0, "row": NANO.operand_rows}), (FIELD, {"rows": 0}), (LOCAL, {"rows": 1 << 16})],
    Opcode.COPY: [(LOCAL, {"src_row": 0xFFFF}), (LOCAL, {"dst_row": 0xFFFF}), (FIELD, {"rows": 0}),
                  (FIELD, {"src_row": 8, "dst_row": 9}), (LOCAL, {"rows": 1 << 15, "src_row": 0, "dst_row": 1 << 15})],
    Opcode.NORM: [(READ, {"stream": FAR}), (FIELD, {"tokens": 0}), (LOCAL, {"tokens": 4095}), (FIELD, {"blocks": 0}),
                  (FIELD, {"blocks": 33}), (LOCAL, {"src_row": 0xFFFF}), (LOCAL, {"src_stride": 63}),
                  (LOCAL, {"dst_row": 0xFFFF}), (LOCAL, {"dst_stride": 255}),
                  (LOCAL, {"dst_row": NANO.operand_rows - 64, "wide": 1, "dst_plane": 200, "dst_stride": 255}),
                  (FIELD, {"dst_stride": 0}), (FIELD, {"wide": 1, "dst_plane": 0, "dst_stride": 9}),
                  (LOCAL, {"normalized": 1, "normalized_row": 0xFFFF, "normalized_plane": 1, "normalized_stride": 2}),
                  (LOCAL, {"normalized": 1, "normalized_row": 300, "normalized_plane": 1, "normalized_stride": 255}),
                  (LOCAL, {"normalized": 1, "normalized_row": NANO.operand_rows - 64, "normalized_plane": 200,
                           "normalized_stride": 255}),
                  (FIELD, {"normalized": 1, "normalized_stride": 1, "normalized_plane": 1}), (FIELD, {"shift": 32})],
    Opcode.LINEAR: [(READ, {"stream": FAR}), (LOCAL, {"tokens": 4095}), (FIELD, {"tiles": 0}), (FIELD, {"tiles": 255}),
                    (LOCAL, {"tiles": 255, "dst_stride": 255}), (FIELD, {"dst_stride": 0}),
                    (FIELD, {"slices": 0}), (LOCAL, {"slices": 511}), (LOCAL, {"slices": NANO.ring_lines // 8 + 1}),
                    (FIELD, {"packed": 1, "slices": 3}), (LOCAL, {"packed": 1, "slices": NANO.ring_lines // 4 + 2}),
                    (FIELD, {"src_index": 3}), (LOCAL, {"src_row": 0xFFFF}), (LOCAL, {"src_stride": 255}),
                    (LOCAL, WIDE | {"src_unsigned": 0, "src_row": NANO.operand_rows - 128, "src_plane": 255}),
                    (FIELD, WIDE | {"src_unsigned": 1}), (FIELD, {"dst": 6}), (FIELD, {"dst": 7}),
                    (FIELD, {"dst": Dest.GATE}), (FIELD, {"dst": Dest.KEY, "src_index": Index.QUEUE_SLOT}),
                    (FIELD, {"dst": Dest.VALUE, "dst_index": Index.QUEUE_TOKEN}), (FIELD, {"dst_index": 3}),
                    (LOCAL, {"dst_row": 0xFFFF}), (LOCAL, {"dst": Dest.OPERAND8, "dst_row": 0xFFFF}),
                    (LOCAL, {"dst": Dest.RESIDUAL, "dst_row": NANO.residual_rows}), (LOCAL, {"dst_stride": 255}),
                    (LOCAL, {"dst": Dest.OPERAND16, "dst_row": NANO.operand_rows - 128, "dst_plane": 200,
                             "dst_stride": 255}),
                    (FIELD, {"dst": Dest.OPERAND16, "dst_row": 200, "dst_plane": 0, "dst_stride": 9}),
                    (FIELD, {"dst": Dest.OPERAND8, "dst_row": 0}), (FIELD, {"dst": Dest.VALUE, "dst_stride": 0}),
                    (LOCAL, {"dst": Dest.KEY, "dst_row": 900}), (LOCAL, {"dst": Dest.VALUE, "dst_row": 900}),
                    (LOCAL, {"dst": Dest.KEY, "dst_row": 1024}), (LOCAL, {"dst": Dest.VALUE, "dst_row": 0xFFFF}),
                    (FIELD, {"gate_weight": 1}), (FIELD, {"shift1": 48}), (FIELD, {"shift2": 41}),
                    (FIELD, {"reuse_weights": 1}),
                    (FIELD, {"activation": len(BY_CODE)}), (FIELD, {"activation": 7}),
                    (FIELD, {"act_shift": 5}), (FIELD, {"act_shift": 7}), (FIELD, {"reuse_weights": 1,
                                                                                   "reuse_offset": 16383}),
                    (FIELD, {"window": 15}), (FIELD, {"window": 1}), (FIELD, {"width": 1}), (FIELD, {"lines": 1}),
                    (FIELD, {"pitch": 1}), (FIELD, {"edges": 1}),
                    (LOCAL, {"retain_weights": 1, "tiles": 8, "slices": 17, "dst_stride": 8}),
                    (LOCAL, {"block": 7, "tiles": 8, "slices": 17, "dst_stride": 8}),
                    (LOCAL, {"block": 1, "tiles": 2, "slices": 65, "dst_stride": 8})],
    Opcode.ATTENTION: [(READ, {"stream": FAR}), (FIELD, {"heads": 0}), (FIELD, {"heads": 33}),
                       (FIELD, {"head_slices": 0}), (FIELD, {"head_slices": 3}), (FIELD, {"head_slices": 9}),
                       (FIELD, {"queries": 0}), (FIELD, {"queries": 4095}), (FIELD, {"keys": 0}),
                       (LOCAL, {"queries": 4095, "q_stride": 0}), (FIELD, {"dst_stride": 0}),
                       (FIELD, {"keys": 2049}), (LOCAL, {"keys": NANO.max_keys + 1}), (LOCAL, {"q_row": 0xFFFF}),
                       (LOCAL, {"q_stride": 255, "q_row": 200, "dst_row": 0}), (FIELD, {"q_stride": 255}),
                       (LOCAL, {"key_tile": 1023}), (LOCAL, {"keys": 33, "key_pitch": 255}),
                       (LOCAL, {"value_tile": 1023}), (LOCAL, {"dst_row": 0xFFFF}), (LOCAL, {"dst_stride": 255}),
                       (LOCAL, {"wide": 1, "dst_row": NANO.operand_rows - 128, "dst_plane": 200, "dst_stride": 255}),
                       (FIELD, {"wide": 1, "dst_plane": 0, "dst_stride": 9}),
                       (FIELD, {"p_shift": 15}), (FIELD, {"shift1": 48}), (FIELD, {"shift2": 41}),
                       (FIELD, {"class_scores": 1}),
                       (LOCAL, {"class_scores": 1, "queries": 1, "dst_row": NANO.residual_rows})],
    Opcode.GATE: [(FIELD, {"tokens": 0}), (LOCAL, {"tokens": 4095}), (LOCAL, {"tokens": NANO.queue_depth, "top_k": 2}),
                  (FIELD, {"experts": 0}), (FIELD, {"experts": 65}), (FIELD, {"top_k": 0}), (FIELD, {"top_k": 9}),
                  (FIELD, {"experts": 1, "top_k": 2}), (FIELD, {"first_token": 4095})],
    Opcode.EXPERTS: [(FIELD, {"experts": 0}), (FIELD, {"experts": 65}), (FIELD, {"body": 0}), (OPCODE, {"body": 15}),
                     (READ, {"stream": FAR}), (READ, {"pitch": FAR})],
    Opcode.UPSAMPLE: [(FIELD, {"rows": 0}), (LOCAL, {"src_row": 0xFFFF}), (LOCAL, {"dst_row": 0xFFFF}),
                      (FIELD, {"width": 1}), (FIELD, {"width": 1023}), (LOCAL, {"src_row": 480, "width": 9}),
                      (FIELD, {"lines": 1}), (FIELD, {"lines": 255}), (LOCAL, {"src_row": 480, "lines": 6}),
                      (FIELD, {"pitch": 1}), (LOCAL, {"pitch": 1023, "dst_row": 0, "src_row": 40}),
                      (FIELD, {"dst_row": 15}), (LOCAL, {"edges": 15, "dst_row": NANO.operand_rows - 32}),
                      (FIELD, {"width": 1023, "lines": 255, "pitch": 1023, "rows": 15})],
    Opcode.KEEP: [(FIELD, {"tokens": 0}), (FIELD, {"tokens": 2049}), (FIELD, {"keep": 0}), (FIELD, {"keep": 5}),
                  (FIELD, {"first": 3}), (FIELD, {"blocks": 0}), (FIELD, {"score_row": 20}), (FIELD, {"row": 0}),
                  (LOCAL, {"score_row": 0xFFFF}), (LOCAL, {"row": 0xFFFF}), (LOCAL, {"tokens": NANO.max_keys + 1}),
                  (LOCAL, {"score_row": NANO.residual_rows}), (LOCAL, {"row": NANO.residual_rows - 7})],
    Opcode.END: [],
}
ELSEWHERE = [
    (Opcode.GATE, {"tokens": 1}, FIELD, "the LINEAR brings more tokens than the gate waits for"),
    (Opcode.GATE, {"experts": 64}, FIELD, "the LINEAR brings fewer logits than there are experts"),
    (Opcode.GATE, {"tokens": 40}, FIELD, "EXPERTS would wait for tokens that never come"),
    (Opcode.GATE, {"first_token": 4000}, LOCAL, "the queues name tokens whose rows do not exist"),
]
"""What a wrong instruction makes of another one, which is then the one that is refused."""
