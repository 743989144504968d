// The C functions that compiled code may call, by name. The names are those of image.py.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// --- 16-bit floats, for processors that cannot convert them ---------------------------------
// LLVM passes them in the low bits of a float register, so a float carries them here.

typedef union {
  float value;
  uint32_t bits;
} carrier_t;

static uint16_t bits16_of(float carried) {
  return (uint16_t)(carrier_t){.value = carried}.bits;
}

static float carry16(uint16_t bits) {
  return (carrier_t){.bits = 0xffff0000u | bits}.value;  // RISC-V wants the upper bits set
}

static float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31;
  uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {
    float value = ldexpf((float)mantissa, -24);
    return sign ? -value : value;
  }
  exponent = exponent == 31 ? 255 : exponent + 112;
  return (carrier_t){.bits = sign | exponent << 23 | mantissa << 13}.value;
}

// Rounds to nearest even, straight from a double: float to half is exact through it.
static uint16_t narrow(double value, int mantissa_bits) {
  union {
    double value;
    uint64_t bits;
  } in = {value};
  const int bias = (1 << (14 - mantissa_bits)) - 1;
  const uint32_t infinity = ((1u << (15 - mantissa_bits)) - 1) << mantissa_bits;
  uint16_t sign = (uint16_t)(in.bits >> 48 & 0x8000);
  int exponent = (int)(in.bits >> 52 & 0x7ff) - 1023;
  uint64_t mantissa = in.bits & ((1ull << 52) - 1);
  if (exponent == 1024) {
    return sign | (uint16_t)infinity | (mantissa ? 1u << (mantissa_bits - 1) : 0);
  }
  if (exponent > bias) return sign | (uint16_t)infinity;
  mantissa |= 1ull << 52;
  int below = exponent < 1 - bias ? 1 - bias - exponent : 0;
  int drop = 52 - mantissa_bits + below;
  if (drop > 53) return sign;
  uint64_t kept = mantissa >> drop, lost = mantissa & ((1ull << drop) - 1), half = 1ull << (drop - 1);
  kept += lost > half || (lost == half && (kept & 1));
  // The implicit one, and a carry out of rounding, add up in the exponent field.
  uint32_t result = (uint32_t)kept;
  if (!below) result += (uint32_t)(exponent + bias - 1) << mantissa_bits;
  return sign | (uint16_t)(result > infinity ? infinity : result);
}

static float extendhfsf2(float half) { return half_to_float(bits16_of(half)); }
static double extendhfdf2(float half) { return half_to_float(bits16_of(half)); }
static float truncsfhf2(float value) { return carry16(narrow(value, 10)); }
static float truncdfhf2(double value) { return carry16(narrow(value, 10)); }
static float truncsfbf2(float value) { return carry16(narrow(value, 7)); }
static float truncdfbf2(double value) { return carry16(narrow(value, 7)); }
static float gnu_h2f_ieee(uint16_t half) { return half_to_float(half); }
static uint16_t gnu_f2h_ieee(float value) { return narrow(value, 10); }

// --- what LLVM expects of a C or compiler library under names that not every one has ----------

static float round_even_f(float x) { return rintf(x); }  // the rounding mode is never changed
static double round_even(double x) { return rint(x); }
static float exp10_f(float x) { return (float)pow(10.0, x); }
static double exp10_d(double x) { return pow(10.0, x); }
static void sincos_f(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
static void sincos_d(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }

static double powidf2(double base, int exponent) {
  double result = 1;
  for (unsigned n = (unsigned)(exponent < 0 ? -(int64_t)exponent : exponent); n; n >>= 1) {
    if (n & 1) result *= base;
    base *= base;
  }
  return exponent < 0 ? 1 / result : result;
}

static float powisf2(float base, int exponent) {
  float result = 1;
  for (unsigned n = (unsigned)(exponent < 0 ? -(int64_t)exponent : exponent); n; n >>= 1) {
    if (n & 1) result *= base;
    base *= base;
  }
  return exponent < 0 ? 1 / result : result;
}

#ifdef __SIZEOF_INT128__
static __int128 multi3(__int128 a, __int128 b) { return a * b; }
static __int128 divti3(__int128 a, __int128 b) { return a / b; }
static __int128 modti3(__int128 a, __int128 b) { return a % b; }
static unsigned __int128 udivti3(unsigned __int128 a, unsigned __int128 b) { return a / b; }
static unsigned __int128 umodti3(unsigned __int128 a, unsigned __int128 b) { return a % b; }
#endif

// --- the table --------------------------------------------------------------------------------

typedef void (*function_t)(void);
#define AS(name, function) {name, (function_t)(function)}
#define BOTH(name) AS(#name, name), AS(#name "f", name##f)

static const struct {
  const char* name;
  function_t function;
} table[] = {
    BOTH(sin), BOTH(cos), BOTH(tan), BOTH(asin), BOTH(acos), BOTH(atan),
    BOTH(sinh), BOTH(cosh), BOTH(tanh), BOTH(asinh), BOTH(acosh), BOTH(atanh),
    BOTH(exp), BOTH(exp2), BOTH(expm1), BOTH(log), BOTH(log2), BOTH(log10), BOTH(log1p),
    BOTH(pow), BOTH(atan2), BOTH(fmod), BOTH(remainder), BOTH(cbrt), BOTH(hypot), BOTH(sqrt),
    BOTH(erf), BOTH(erfc), BOTH(tgamma), BOTH(lgamma),
    BOTH(floor), BOTH(ceil), BOTH(round), BOTH(rint), BOTH(nearbyint), BOTH(trunc),
    BOTH(fabs), BOTH(copysign), BOTH(fma), BOTH(fmin), BOTH(fmax), BOTH(ldexp), BOTH(frexp),
    BOTH(fdim), BOTH(nextafter), BOTH(modf),
    AS("roundeven", round_even), AS("roundevenf", round_even_f),
    AS("exp10", exp10_d), AS("exp10f", exp10_f),
    AS("sincos", sincos_d), AS("sincosf", sincos_f),
    AS("memcpy", memcpy), AS("memmove", memmove), AS("memset", memset), AS("memcmp", memcmp),
    AS("abort", abort), AS("malloc", malloc), AS("free", free),
    AS("__extendhfsf2", extendhfsf2), AS("__extendhfdf2", extendhfdf2),
    AS("__truncsfhf2", truncsfhf2), AS("__truncdfhf2", truncdfhf2),
    AS("__truncsfbf2", truncsfbf2), AS("__truncdfbf2", truncdfbf2),
    AS("__gnu_h2f_ieee", gnu_h2f_ieee), AS("__gnu_f2h_ieee", gnu_f2h_ieee),
    AS("__powisf2", powisf2), AS("__powidf2", powidf2),
#ifdef __SIZEOF_INT128__
    AS("__multi3", multi3), AS("__divti3", divti3), AS("__modti3", modti3),
    AS("__udivti3", udivti3), AS("__umodti3", umodti3),
#endif
};

// Returns the address of a function compiled code may call, NULL if the name is not in the table.
void* iree_import_address(const char* name) {
  for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); ++i) {
    if (strcmp(table[i].name, name) == 0) return (void*)(uintptr_t)table[i].function;
  }
  return NULL;
}
