"""Which shards form a batch: by the digest of their names alone, so that one shard more or less moves few batches.

All shards are one group; a group of more than `size` shards is cut in two by the next bit of the digest of each
shard's name. So the order of the list decides nothing, and neither does its length: a shard that comes or goes
touches the batch that it belongs to, which may be cut in two or join its other half. Batches are two thirds
full on average.
"""

from hashlib import sha256


def batches_of(shards: list[str], size: int) -> dict[str, list[str]]:
    """Return the shards of every batch by its name, both in the order of `shards`.

    A batch of one shard bears its name if `size` is 1, else the bits that its members have in common. Names of
    shards must be different.
    """
    if size == 1:
        return {shard: [shard] for shard in shards}
    found: dict[str, list[str]] = {}
    groups = [("", shards)] if shards else []
    while groups:
        bits, members = groups.pop()
        if len(members) <= size:
            found[f"batch-{bits or 'all'}-x{size}"] = members
            continue
        for bit in "01":
            half = [shard for shard in members if _bits(shard)[len(bits)] == bit]
            if half:
                groups.append((bits + bit, half))
    place = {shard: number for number, shard in enumerate(shards)}
    return dict(sorted(found.items(), key=lambda batch: place[batch[1][0]]))


def _bits(shard: str) -> str:
    """Return the digest of a shard's name as text of zeros and ones."""
    return f"{int(sha256(shard.encode()).hexdigest(), 16):0256b}"
