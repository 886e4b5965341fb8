// Elements of NVIDIA's libraries on the CPU: each type read as a double, and rounded to from one.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace {

enum Type { R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14 };

size_t size_of(Type type) { return type == R_64F ? 8 : type == R_32F ? 4 : 2; }

float of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

double load(Type type, const unsigned char* from, bool tf32) {
    if (type == R_64F) {
        double value;
        memcpy(&value, from, 8);
        return value;
    }
    if (type == R_32F) {
        uint32_t bits;
        memcpy(&bits, from, 4);
        // Ten bits of mantissa, to the nearest.
        if (tf32 && (bits >> 23 & 0xff) != 0xff) bits = (bits + 0x0fff + (bits >> 13 & 1)) & ~0x1fffu;
        return of_bits(bits);
    }
    uint16_t half;
    memcpy(&half, from, 2);
    if (type == R_16BF) return of_bits(uint32_t(half) << 16);
    uint32_t sign = uint32_t(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 0x1f) return of_bits(sign | 0x7f800000 | mantissa << 13);
    double magnitude = exponent ? double(0x400 | mantissa) * (1u << exponent) / 33554432.0  // 2^25
                                : double(mantissa) / 16777216.0;                            // 2^24
    return sign ? -magnitude : magnitude;
}

// To the nearest of so many bits of mantissa less, ties to even.
uint32_t rounded(uint32_t bits, unsigned dropped) {
    return (bits + ((1u << (dropped - 1)) - 1) + (bits >> dropped & 1)) >> dropped;
}

void store(Type type, unsigned char* to, double value) {
    if (type == R_64F) {
        memcpy(to, &value, 8);
        return;
    }
    float single = float(value);
    uint32_t bits = bits_of(single);
    if (type == R_32F) {
        memcpy(to, &bits, 4);
        return;
    }
    bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
    uint16_t half;
    if (type == R_16BF) {
        half = is_nan ? 0x7fc0 : uint16_t(rounded(bits, 16));
    } else {
        uint16_t sign = uint16_t(bits >> 16 & 0x8000);
        uint32_t magnitude = bits & 0x7fffffff;
        if (is_nan) half = 0x7e00;
        else if (magnitude >= 0x47800000) half = 0x7c00;
        // A sum with 0.5 has the bits of a subnormal at its end, rounded.
        else if (magnitude < 0x38800000) half = uint16_t(bits_of(of_bits(magnitude) + 0.5f) - 0x3f000000);
        else half = uint16_t(rounded(magnitude - 0x38000000, 13));
        half |= sign;
    }
    memcpy(to, &half, 2);
}

}  // namespace
