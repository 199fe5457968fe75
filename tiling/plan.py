"""Plan which tiles cover a canvas."""

from __future__ import annotations

from tiling.geometry import Size, Tile, Wrap

ORIGIN = Size(0, 0)


def axis_starts(length: int, tile: int, stride: int, wrap: bool, offset: int = 0) -> list[int]:
    """Starts of tiles that cover one axis, spread evenly, at most `stride` apart.

    Without wrap, the first tile starts at 0 and the last ends at `length`; an `offset` shifts the grid, and tiles that
    would cross the border are pushed inside. With wrap, the starts divide the axis evenly, beginning at `offset`.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile, at most `length`.
        stride: Largest distance between neighbouring starts, 1 to `tile`.
        wrap: Whether the axis wraps around.
        offset: Shift of the grid.

    Raises:
        ValueError: `tile` does not fit in `length`, or `stride` is not in 1..tile.

    Example:
        >>> axis_starts(10, 4, 3, wrap=False), axis_starts(10, 4, 4, wrap=True, offset=9)
        ([0, 3, 6], [9, 2, 5])
    """
    if not 1 <= tile <= length:
        raise ValueError(f"tile={tile} does not fit in length={length}; shrink the tile or enlarge the canvas.")
    if not 1 <= stride <= tile:
        raise ValueError(f"stride={stride} must be from 1 to tile={tile}; a larger stride leaves gaps.")
    if wrap:
        count = -(-length // stride)
        return [(offset + i * length // count) % length for i in range(count)]
    if offset == 0:
        count = -(-(length - tile) // stride) + 1
        return [i * (length - tile) // max(count - 1, 1) for i in range(count)]
    first = offset % stride - stride
    return sorted({min(max(start, 0), length - tile) for start in range(first, length, stride)})


def plan_tiles(canvas: Size, tile: Size, stride: Size, wrap: Wrap, offset: Size = ORIGIN) -> list[Tile]:
    """Tiles that together cover every pixel of the canvas, row by row.

    Args:
        canvas: Size of the canvas.
        tile: Size of every tile, no larger than the canvas.
        stride: Largest distance between the starts of neighbouring tiles.
        wrap: Axes that wrap around; there, tiles may reach past the end.
        offset: Shift of the grid.

    Raises:
        ValueError: See `axis_starts`.

    Example:
        >>> plan_tiles(Size(6, 4), Size(4, 4), Size(4, 4), Wrap())
        [Tile(top=0, left=0, bottom=4, right=4), Tile(top=2, left=0, bottom=6, right=4)]
    """
    tops = axis_starts(canvas.height, tile.height, stride.height, wrap.y, offset.height)
    lefts = axis_starts(canvas.width, tile.width, stride.width, wrap.x, offset.width)
    return [Tile(top, left, top + tile.height, left + tile.width) for top in tops for left in lefts]


def plan_cores(canvas: Size, core: Size) -> list[Tile]:
    """Disjoint tiles that cover the canvas once, with the last row and column cut short, for streamed work.

    Example:
        >>> [tile.size for tile in plan_cores(Size(4, 5), Size(4, 4))]
        [Size(height=4, width=4), Size(height=4, width=1)]
    """
    return [
        Tile(top, left, min(top + core.height, canvas.height), min(left + core.width, canvas.width))
        for top in range(0, canvas.height, core.height)
        for left in range(0, canvas.width, core.width)
    ]


def spread_tiles(canvas: Size, tile: Size, most: int) -> list[Tile]:
    """At most `most` tiles spread evenly over the canvas; they cover it if that number is enough.

    Example:
        >>> [tile[:2] for tile in spread_tiles(Size(8, 20), Size(8, 8), most=4)]
        [(0, 0), (0, 6), (0, 12)]
    """
    counts = [-(-canvas.height // tile.height), -(-canvas.width // tile.width)]
    while counts[0] * counts[1] > most:
        counts[counts.index(max(counts))] -= 1
    tops, lefts = (
        [i * (length - side) // max(count - 1, 1) for i in range(count)]
        for length, side, count in zip(canvas, tile, counts, strict=True)
    )
    return [Tile(top, left, top + tile.height, left + tile.width) for top in tops for left in lefts]


def tile_size(native: Size, canvas: Size) -> Size:
    """The tile used on a canvas: the smaller of native tile and canvas, per axis."""
    return Size(min(native.height, canvas.height), min(native.width, canvas.width))
