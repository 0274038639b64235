# SPDX-License-Identifier: Apache-2.0
"""Lowering of task heads: the instructions of the convolutions in strips, and of the moves between them.

Order of a convolution's instructions, so that the array waits for nothing but the enlargement of its next strip::

    UPSAMPLE j; conv j; STORE j-1; LOAD j+1; UPSAMPLE j+1; ...                       (results go through DRAM)
    conv_3 j; STORE j-2; LOAD j+1; conv_4 j; UPSAMPLE j+1; conv_3 j+1; ...           (conv_4 takes the results)

A STORE needs an empty array only where its results are not yet complete: it follows an instruction that waited anyway.
"""

from golden.spec.activations import ACTIVATIONS
from golden.spec.heads import RELU_SHIFT2, WINDOWS, HeadConfig
from golden.spec.isa import Dest, Edge, Opcode
from golden.spec.isa import Region as Base
from golden.spec.program.outputs import Output
from golden.spec.tiling import WINDOW
from host.compiler import weight_stream as lay
from host.compiler.heads.plan import Fate, Level, Placed, Room, place, plan_head
from host.compiler.heads.shape import HeadShape, head_shape
from host.compiler.heads.strips import Job, Lines
from host.ir.nodes import Access, Memory, Region, Row


class HeadLowering:
    """Instructions of one head, added to those of ``lowering`` (:class:`host.compiler.lower.Lowering`).

    ``first``: residual row group of the class token; ``output``: where its result goes; ``scratch``: first line of
    the output buffer that maps on their way may use; ``room``: what of the machine the head may use.
    """

    def __init__(self, lowering, head: HeadConfig, first: int, output: Output, scratch: int, room: Room, what: str):
        c = lowering.config
        self.low, self.head, self.first, self.output = lowering, head, first, output
        self.plan = lowering.plan.task_heads[c.task_heads.index(head)]
        self.name = f"heads.{head.task}"
        self.shape: HeadShape = head_shape(c, head, self.plan)
        self.levels = plan_head(self.shape, room, what)
        size, self.placed = place(self.levels)
        self.maps = Region(f"{self.name} maps", Memory.OPERAND, size, 1, elastic=True)
        last = self.levels[-1]
        self.results = Region(f"{self.name} results", Memory.RESIDUAL, last.buffers * last.band * last.tile,
                              self.shape.last_tiles, elastic=True)
        self.scratch: list[int] = []
        self.end = scratch
        """First line after the head's part of the output buffer."""
        for level in self.levels:
            self.scratch.append(self.end)
            if level.result is Fate.STORED:
                self.end += level.conv.height * level.conv.width * level.conv.out_stride

    @property
    def tiles(self) -> tuple[int, int, int]:
        """Tiles that the result is stored in."""
        last = self.levels[-1]
        return last.band, last.tile, int(last.strips)

    def lower(self) -> None:
        """All instructions of the head."""
        self._norm()
        for layer in range(WINDOWS):
            self._level(layer)

    def _norm(self) -> None:
        """The patch tokens, normalized, as the map of the first convolution."""
        c, base = self.low.config, self.placed[0].source
        self.low.norm_into(Row(self.maps, base), self._rows(base, c.patches * self.levels[0].conv.stride),
                           f"{self.name}.norm", self.plan.norm, c.patches, self.first + c.extra_tokens, whole=True)

    def _rows(self, first: int, count: int) -> Access:
        return Access(self.maps, first, count)

    def _level(self, layer: int) -> None:
        """One convolution, with conv_4 after the last one."""
        at, level = self.placed[layer], self.levels[layer]
        found, consumed = level.jobs, level.result is Fate.CONSUMED
        late = min(level.buffers, 2) if consumed else int(level.conv.doubled)
        self._loads(layer, found[0])
        for j, job in enumerate(found):
            self._enlarge(layer, job)
            self._convolve(layer, j, job)
            if j >= late and not (consumed and level.buffers == 1):
                self._store(layer, j - late)
            if j + 1 < len(found):
                self._loads(layer, found[j + 1])
            if consumed:
                if j and level.buffers == 1:
                    self._store(layer, j - 1)
                self._last(at, j, job)
        for j in range(max(0, len(found) - late), len(found)):
            self._store(layer, j)

    # -- one tile

    def _loads(self, layer: int, job: Job) -> None:
        """Source lines of a tile that are not on chip yet."""
        level, at = self.levels[layer], self.placed[layer]
        if level.source is not Fate.STORED:
            return
        stride, width = level.conv.stride, level.conv.source[1]
        whole = len(job.stored) == width
        single = [Lines(lines.first + i, 1, lines.slot + i) for lines in job.loads for i in range(lines.count)]
        for load in job.loads if whole else single:
            row, rows = at.source + load.slot * level.slot_columns * stride, load.count * len(job.stored) * stride
            self.low.add(Opcode.LOAD, f"{self.name}.map_{layer - 1}", writes=(self._rows(row, rows),), fields={
                "region": int(Base.OUTPUT), "memory": 0, "row": Row(self.maps, row), "rows": rows,
                "offset": self.scratch[layer - 1] + (load.first * width + job.stored.first) * stride})

    def _enlarge(self, layer: int, job: Job) -> None:
        """The strip around a tile, from one run of source lines or two."""
        level, at = self.levels[layer], self.placed[layer]
        if not level.conv.doubled:
            return
        rows, pitch, dst = level.conv.rows, level.slot_columns, at.enlarged
        columns = len(job.columns) + 2 - bool(job.edges & Edge.LEFT) - bool(job.edges & Edge.RIGHT)
        sides = job.edges & (Edge.LEFT | Edge.RIGHT)
        for part in job.parts:
            top = job.edges & Edge.TOP if part is job.parts[0] else 0
            bottom = job.edges & Edge.BOTTOM if part is job.parts[-1] else 0
            width = len(job.source_columns)
            src = at.source + (part.slot * pitch + job.source_columns.first - job.stored.first) * rows
            made = (2 * part.count - 2 + bool(top) + bool(bottom)) * columns * rows
            self.low.add(
                Opcode.UPSAMPLE, f"{self.name}.up_{layer - 1}", writes=(self._rows(dst, made),),
                reads=(self._rows(src, ((part.count - 1) * pitch + width) * rows),),
                fields={"src_row": Row(self.maps, src), "dst_row": Row(self.maps, dst), "rows": rows, "width": width,
                        "lines": part.count, "pitch": pitch, "edges": int(sides | top | bottom)})
            dst += made

    def _result_row(self, at: Placed, j: int, job: Job) -> int:
        """Operand row of a tile's first result."""
        if at.level.result is Fate.KEPT:
            return at.results[0] + job.lines.first * at.level.conv.width * at.level.conv.out_stride
        return at.results[j % len(at.results)]

    def _convolve(self, layer: int, j: int, job: Job) -> None:
        level, at, name = self.levels[layer], self.placed[layer], f"{self.name}.conv_{layer}"
        conv, wide = level.conv, level.conv.out_planes == 2
        missing = [not job.edges & edge for edge in Edge]
        lines, columns = len(job.lines) + sum(missing[:2]), len(job.columns) + sum(missing[2:])
        src, pitch = at.enlarged, columns
        if not conv.doubled:
            pitch = conv.width
            src = at.source + (job.source_lines.first * pitch + job.source_columns.first) * conv.stride
        dst = self._result_row(at, j, job)
        relu = {"activation": ACTIVATIONS["relu"].code, "affine": 1, "shift2": RELU_SHIFT2,
                "dst_plane": conv.out_rows} if wide else {}
        payload = self.low.payload(name, lambda: lay.window(
            self.low.machine, self.low.t(f"{name}.weight"), self.low.t(f"{name}.bias"),
            self.low.t(f"{name}.multiplier"), gain=int(wide)))
        macs = job.positions * WINDOW * WINDOW * self.head.inputs(layer, self.low.config.dim) * self.head.channels
        self.low.add(
            Opcode.LINEAR, name, payload=payload, tokens=job.positions, whole=True, macs=macs,
            reads=(self._rows(src, ((lines - 1) * pitch + columns) * conv.stride),),
            writes=(self._rows(dst, job.positions * conv.out_stride),),
            fields={"tokens": job.positions, "tiles": conv.tiles, "slices": conv.slices, "src_row": Row(self.maps, src),
                    "src_stride": conv.stride, "src_plane": conv.rows if conv.planes == 2 else 0,
                    "src_wide": int(conv.planes == 2), "src_unsigned": int(layer > 0),
                    "dst": int(Dest.OPERAND16 if wide else Dest.UNSIGNED8), "dst_row": Row(self.maps, dst),
                    "dst_stride": conv.out_stride, "shift1": self.low.number(f"{name}.shift"), "window": conv.rows,
                    "width": len(job.columns), "lines": len(job.lines), "pitch": pitch, "edges": job.edges}
            | relu | self._ring(level, j, 0, level.result is not Fate.CONSUMED))

    def _last(self, at: Placed, j: int, job: Job) -> None:
        """The 1x1 convolution of a tile's results."""
        level, name, shape = at.level, f"{self.name}.conv_{WINDOWS}", self.shape
        conv, src, dst = level.conv, at.results[0], self._buffer(level, j)
        payload = self.low.payload(name, lambda: lay.linear(
            self.low.machine, self.low.t(f"{name}.weight"), self.low.t(f"{name}.bias"),
            self.low.t(f"{name}.multiplier")))
        self.low.add(
            Opcode.LINEAR, name, payload=payload, tokens=job.positions, whole=True,
            macs=job.positions * self.head.channels * self.head.classes,
            reads=(self._rows(src, job.positions * conv.out_stride),),
            writes=(Access(self.results, dst, job.positions),),
            fields={"tokens": job.positions, "tiles": shape.last_tiles, "slices": shape.last_slices,
                    "src_row": Row(self.maps, src), "src_stride": conv.out_stride,
                    "src_plane": conv.out_rows if shape.last_wide else 0, "src_wide": int(shape.last_wide),
                    "src_unsigned": int(not shape.last_wide), "dst": int(Dest.RESIDUAL),
                    "dst_row": Row(self.results, dst), "dst_stride": shape.last_tiles,
                    "shift1": self.low.number(f"{name}.shift")}
            | self._ring(level, j, conv.tiles * conv.slices, True))

    def _ring(self, level: Level, j: int, offset: int, last: bool) -> dict:
        """What a LINEAR of tile ``j`` leaves in the ring and finds there, ``offset`` slices from the oldest; ``last``:
        no LINEAR of the tile follows it."""
        several = level.retain and len(level.jobs) > 1
        return {"retain_weights": int(several and not (last and j == len(level.jobs) - 1)),
                "reuse_weights": int(several and j > 0), "reuse_offset": offset if several and j else 0}

    def _buffer(self, level: Level, j: int) -> int:
        """First position of the results of tile ``j`` in residual memory: tiles of a group follow each other."""
        group, inside = divmod(j, level.group)
        first = group % (level.buffers // level.group) * level.group * level.band * level.tile
        return first + sum(job.positions for job in level.jobs[j - inside:j])

    def _store(self, layer: int, j: int) -> None:
        """The results of a tile leave the chip: into a map on its way, line by line; or into the output, with those of
        its whole group, after the last of them."""
        level, at = self.levels[layer], self.placed[layer]
        job, conv, name = level.jobs[j], level.conv, f"{self.name}.map_{layer}"
        if level.result is Fate.CONSUMED:
            if (j + 1) % level.group and j + 1 < len(level.jobs):
                return
            first = j - j % level.group
            before, positions = (sum(job.positions for job in level.jobs[a:b]) for a, b in ((0, first), (first, j + 1)))
            row = self._buffer(level, first)
            self.low.add(Opcode.STORE, self.name, reads=(Access(self.results, row, positions),), fields={
                "offset": self.output.offset + before * self.shape.last_tiles, "memory": 1,
                "row": Row(self.results, row), "rows": positions * self.shape.last_tiles})
        elif level.result is Fate.STORED:
            row, width = self._result_row(at, j, job), len(job.columns)
            step = len(job.lines) if width == conv.width else 1
            for y in range(0, len(job.lines), step):
                part, rows = row + y * width * conv.out_stride, step * width * conv.out_stride
                offset = ((job.lines.first + y) * conv.width + job.columns.first) * conv.out_stride
                self.low.add(Opcode.STORE, name, reads=(self._rows(part, rows),), fields={
                    "offset": self.scratch[layer] + offset, "memory": 0, "row": Row(self.maps, part), "rows": rows})
