#ifdef T
// A number in the order of the elements, whatever their type: the two zeros have the same, and NaN the largest.
INLINE u64 rank(T x) {
    const u64 sign = 1ull << 63;
#if FLOAT
    f64 wide = kiln::load<f64>(x) + 0.0;
    u64 bits = kiln::bits_of(wide);
    return wide != wide ? ~0ull : (bits & sign) != 0 ? ~bits : bits | sign;
#else
    return (u64)kiln::whole(x) ^ sign;
#endif
}
#endif
