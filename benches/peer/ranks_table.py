"""The table of `benches/peer/ranks.sh`: a file of lines for each round."""

import statistics
import sys

rounds = []
for path in sys.argv[1:]:
    with open(path) as lines:
        rows = (line.rstrip("\n").split("\t") for line in lines)
        rounds.append({tuple(row[:3]): [float(number) for number in row[3:]] for row in rows})


def median(of):
    return statistics.median(of(one) for one in rounds)


print("ms of a step with exchange (and what the exchange adds to it), MB, ratios to gloo's of the same round")
print(f"{'model':12} {'frozen':12} {'way':7} {'step':>7} {'adds':>7} {'MB':>6} {'step ratio':>10} {'adds ratio':>10}")
for key in rounds[0]:
    model, frozen, way = key
    peer = (model, frozen, "gloo")
    step, adds = (lambda one: one[key][1]), (lambda one: one[key][1] - one[key][0])
    ratio = median(lambda one: one[key][1] / one[peer][1])
    added = median(adds) / median(lambda one: one[peer][1] - one[peer][0])
    megabytes = rounds[0][key][2] / 1e6
    print(
        f"{model:12} {frozen:12} {way:7} {1e3 * median(step):7.1f} {1e3 * median(adds):7.1f} {megabytes:6.2f}"
        f" {ratio:10.2f} {added:10.2f}"
    )
