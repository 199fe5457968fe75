"""Sew a quilt: lay piece after piece, then sew further pieces over the worst seams. Coordinates are packed, see `atlas.pack`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.level import EXEMPLAR
from texgen.swatch.jit import compiled
from texgen.swatch.starts.pieces import best_piece, is_known
from texgen.swatch.starts.seams import cut, seams, worst_window
from texgen.swatch.steering import Control

BETTER = 0.95
"""A piece is sewn over seams if at most this part of their cost remains."""


class Sheet(NamedTuple):
    """What a quilt is sewn from: arrays of `level.Level`; `corners` of `quilt.block_corners`, and those that stand for themselves as `places` (n, 2); the
    number `own` of centres; `tints` of `quilt.tints`; the `control` of the canvas; and `stop` (1,), which ends the work when it is True."""

    pixels: np.ndarray
    inside: np.ndarray
    shares: np.ndarray
    source: np.ndarray
    tori: np.ndarray
    wanted: np.ndarray
    corners: np.ndarray
    places: np.ndarray
    own: int
    tints: np.ndarray
    control: Control
    stop: np.ndarray


class Rules(NamedTuple):
    """Settings, see `quilt.quilted`. One of `leap` times `leap` places is compared at first; repeats count within `reach` pixels."""

    block: int
    overlap: int
    leap: int
    tolerance: float
    spread: float
    reuse: float
    balance: float
    reach: float


class Laid(NamedTuple):
    """The pieces so far: their corners on the canvas and in the bank (n, 2); how often each pixel of the bank (H, W) and each swatch is used; and `rows`
    (m, 2): number of the first piece in each row of pieces, and the approximate y of the row."""

    tiles: np.ndarray
    shown: np.ndarray
    total: np.ndarray
    shown_of: np.ndarray
    rows: np.ndarray


@compiled
def sew(sheet, rules, softer, tiles, draws, passes, field):
    """Lay a block on each of the `tiles`, then sew over the worst seams; `field` is -1 where nothing lies yet."""
    rows, columns = sheet.inside.shape
    side = rules.block - rules.overlap
    down, across = -(-field.shape[0] // side), -(-field.shape[1] // side)
    most = len(tiles) + passes * down * across
    bands = len(tiles) + passes * down + 2
    laid = Laid(
        np.zeros((most + 1, 2), np.int64), np.zeros((most + 1, 2), np.int64), np.zeros((rows, columns), np.float32),
        np.zeros(len(sheet.wanted), np.float32), np.full((bands, 2), most + 1, np.int64),
    )  # fmt: skip
    row = 0
    for number in range(len(tiles)):
        if sheet.stop[0]:
            return
        top, left = tiles[number, 0], tiles[number, 1]
        if number == 0 or tiles[number - 1, 0] != top:
            laid.rows[row] = number, top
            row += 1
        sy, sx = best_piece(sheet, rules, laid, number, field, top, left, rules.block, draws[number])
        lay(sheet, rules, field, top, left, sy, sx, rules.overlap)
        note(sheet, rules, laid, number, top, left, sy, sx)
    mend(sheet, softer, laid, len(tiles), row, passes, field)


@compiled
def mend(sheet, rules, laid, count, row, passes, field):
    """In each part of the canvas with seams worse than the median, sew a piece over the worst place if that is better."""
    height, width = field.shape
    side, ring = rules.block - rules.overlap, max(2, rules.block // 4)
    down, across = -(-height // side), -(-width // side)
    kept = np.empty((rules.block, rules.block), np.int32)
    worst = np.empty(down * across, np.float32)
    for _ in range(passes):
        for part in range(down * across):
            worst[part] = worst_window(sheet, field, part // across * side, part % across * side, side, rules.block)[0]
        limit = np.median(worst)
        for part in range(down * across):
            if sheet.stop[0]:
                return
            if part % across == 0:
                laid.rows[row] = count, part // across * side - rules.block // 2
                row += 1
            if worst[part] <= limit:
                continue
            cost, y, x = worst_window(sheet, field, part // across * side, part % across * side, side, rules.block)
            if cost <= limit:
                continue
            top, left = y - rules.block // 2, x - rules.block // 2
            before = seams(sheet, field, top - 1, left - 1, rules.block + 1)
            for i in range(rules.block):
                for j in range(rules.block):
                    kept[i, j] = field[(top + i) % height, (left + j) % width]
            sy, sx = best_piece(sheet, rules, laid, count, field, top, left, ring, 0.0)
            lay(sheet, rules, field, top, left, sy, sx, ring)
            if seams(sheet, field, top - 1, left - 1, rules.block + 1) < BETTER * before:
                note(sheet, rules, laid, count, top, left, sy, sx)
                count += 1
            else:
                for i in range(rules.block):
                    for j in range(rules.block):
                        field[(top + i) % height, (left + j) % width] = kept[i, j]


@compiled
def lay(sheet, rules, field, top, left, sy, sx, overlap):
    """Put a block on the canvas, cut along its minimum-error paths."""
    height, width = field.shape
    fresh = np.ones((rules.block, rules.block), np.bool_)
    cut(sheet, field, top, left, sy, sx, rules.block, overlap, fresh)
    for i in range(rules.block):
        for j in range(rules.block):
            y, x = (top + i) % height, (left + j) % width
            if (fresh[i, j] or field[y, x] < 0) and not is_known(sheet, y, x):
                field[y, x] = ((sy + i) << 16) | (sx + j)


@compiled
def note(sheet, rules, laid, count, top, left, sy, sx):
    """Record a block."""
    laid.tiles[count, 0], laid.tiles[count, 1] = top, left
    laid.shown[count, 0], laid.shown[count, 1] = sy, sx
    laid.shown_of[sheet.tori[sheet.source[sy, sx], EXEMPLAR]] += 1
    for i in range(rules.block):
        for j in range(rules.block):
            packed = sheet.inside[sy + i, sx + j]
            laid.total[packed >> 16, packed & MASK] += 1
