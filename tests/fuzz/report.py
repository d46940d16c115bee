"""What a run of the fuzzer prints."""

import collections

VERDICTS = ("accepted", "refused", "failed")


def table(outcomes):
    """The counts by kind, a line each, and their sums."""
    counts = collections.defaultdict(collections.Counter)
    for outcome in outcomes:
        for name in (outcome.kind, "all"):
            counts[name].update(["inputs", outcome.result.verdict])
    names = [*sorted(counts.keys() - {"all"}), "all"]
    width = max(map(len, names))
    lines = [f"{'kind':<{width}}  inputs  accepted  refused  failed"]
    for name in names:
        accepted, refused, failed = (counts[name][verdict] for verdict in VERDICTS)
        lines.append(f"{name:<{width}}  {accepted + refused + failed:>6}  {accepted:>8}  {refused:>7}  {failed:>6}")
    return "\n".join(lines)


def lines_of_failures(outcomes, shown=5):
    """The failures as lines, grouped by place and type of the exception; `shown` inputs of each group."""
    groups = collections.defaultdict(list)
    for outcome in outcomes:
        if outcome.result.verdict == "failed":
            groups[outcome.result.place, outcome.result.error.split(":")[0]].append(outcome)
    lines = []
    for (place, _), members in sorted(groups.items()):
        members.sort(key=lambda outcome: (len(outcome.mutation), outcome.number))
        lines.append(f"{place or 'place unknown'}: {members[0].result.error}  ({len(members)} inputs)")
        lines += [f"    {member.kind} {member.number}: {member.mutation[:200]}" for member in members[:shown]]
    return lines
