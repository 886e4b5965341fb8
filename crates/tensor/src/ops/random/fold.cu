// A key for a purpose under a key: `Philox::fold`.

KERNEL fold(const i64* seed, const i64* stream, u64 purpose, i64* folded_seed, i64* folded_stream) {
    if (THREAD != 0) return;
    kiln::Block block = kiln::philox((u64)*seed, (u64)*stream, purpose, 0x4B696C6Eu);
    *folded_seed = (i64)((u64)*seed ^ ((u64)block.word[0] << 32 | block.word[1]));
    *folded_stream = (i64)((u64)block.word[2] << 32 | block.word[3]);
}
