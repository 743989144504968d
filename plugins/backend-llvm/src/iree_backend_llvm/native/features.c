// What the processor can do, by LLVM's names of the features.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };
// State the operating system has to save: XCR0 bits.
enum { NONE = 0, AVX = 0x6, AVX512 = 0xe6, AMX = 0x60000 };

static const struct {
  const char* name;
  uint32_t leaf, subleaf;
  uint8_t reg, bit;
  uint32_t state;
} features[] = {
    {"cmov", 1, 0, EDX, 15, NONE},
    {"cx8", 1, 0, EDX, 8, NONE},
    {"fxsr", 1, 0, EDX, 24, NONE},
    {"mmx", 1, 0, EDX, 23, NONE},
    {"x87", 1, 0, EDX, 0, NONE},
    {"sse", 1, 0, EDX, 25, NONE},
    {"sse2", 1, 0, EDX, 26, NONE},
    {"sse3", 1, 0, ECX, 0, NONE},
    {"pclmul", 1, 0, ECX, 1, NONE},
    {"ssse3", 1, 0, ECX, 9, NONE},
    {"fma", 1, 0, ECX, 12, AVX},
    {"cx16", 1, 0, ECX, 13, NONE},
    {"sse4.1", 1, 0, ECX, 19, NONE},
    {"sse4.2", 1, 0, ECX, 20, NONE},
    {"crc32", 1, 0, ECX, 20, NONE},
    {"movbe", 1, 0, ECX, 22, NONE},
    {"popcnt", 1, 0, ECX, 23, NONE},
    {"aes", 1, 0, ECX, 25, NONE},
    {"xsave", 1, 0, ECX, 26, NONE},
    {"avx", 1, 0, ECX, 28, AVX},
    {"f16c", 1, 0, ECX, 29, AVX},
    {"rdrnd", 1, 0, ECX, 30, NONE},
    {"fsgsbase", 7, 0, EBX, 0, NONE},
    {"bmi", 7, 0, EBX, 3, NONE},
    {"avx2", 7, 0, EBX, 5, AVX},
    {"bmi2", 7, 0, EBX, 8, NONE},
    {"invpcid", 7, 0, EBX, 10, NONE},
    {"avx512f", 7, 0, EBX, 16, AVX512},
    {"avx512dq", 7, 0, EBX, 17, AVX512},
    {"rdseed", 7, 0, EBX, 18, NONE},
    {"adx", 7, 0, EBX, 19, NONE},
    {"avx512ifma", 7, 0, EBX, 21, AVX512},
    {"clflushopt", 7, 0, EBX, 23, NONE},
    {"clwb", 7, 0, EBX, 24, NONE},
    {"avx512cd", 7, 0, EBX, 28, AVX512},
    {"sha", 7, 0, EBX, 29, NONE},
    {"avx512bw", 7, 0, EBX, 30, AVX512},
    {"avx512vl", 7, 0, EBX, 31, AVX512},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512},
    {"avx512vbmi2", 7, 0, ECX, 6, AVX512},
    {"gfni", 7, 0, ECX, 8, NONE},
    {"vaes", 7, 0, ECX, 9, AVX},
    {"vpclmulqdq", 7, 0, ECX, 10, AVX},
    {"avx512vnni", 7, 0, ECX, 11, AVX512},
    {"avx512bitalg", 7, 0, ECX, 12, AVX512},
    {"avx512vpopcntdq", 7, 0, ECX, 14, AVX512},
    {"rdpid", 7, 0, ECX, 22, NONE},
    {"movdiri", 7, 0, ECX, 27, NONE},
    {"movdir64b", 7, 0, ECX, 28, NONE},
    {"avx512vp2intersect", 7, 0, EDX, 8, AVX512},
    {"serialize", 7, 0, EDX, 14, NONE},
    {"amx-bf16", 7, 0, EDX, 22, AMX},
    {"avx512fp16", 7, 0, EDX, 23, AVX512},
    {"amx-tile", 7, 0, EDX, 24, AMX},
    {"amx-int8", 7, 0, EDX, 25, AMX},
    {"sha512", 7, 1, EAX, 0, AVX},
    {"avxvnni", 7, 1, EAX, 4, AVX},
    {"avx512bf16", 7, 1, EAX, 5, AVX512},
    {"amx-fp16", 7, 1, EAX, 21, AMX},
    {"avxifma", 7, 1, EAX, 23, AVX},
    {"avxvnniint8", 7, 1, EDX, 4, AVX},
    {"avxneconvert", 7, 1, EDX, 5, AVX},
    {"avxvnniint16", 7, 1, EDX, 10, AVX},
    {"sahf", 0x80000001, 0, ECX, 0, NONE},
    {"lzcnt", 0x80000001, 0, ECX, 5, NONE},
    {"sse4a", 0x80000001, 0, ECX, 6, NONE},
    {"prfchw", 0x80000001, 0, ECX, 8, NONE},
    {"xop", 0x80000001, 0, ECX, 11, AVX},
    {"fma4", 0x80000001, 0, ECX, 16, AVX},
    {"tbm", 0x80000001, 0, ECX, 21, NONE},
    {"64bit", 0x80000001, 0, EDX, 29, NONE},
    {"evex512", 7, 0, EBX, 16, AVX512},
};

// What the processor says of itself, asked when the library is loaded: in a virtual machine each
// question costs several microseconds.
static struct {
  uint32_t leaf, subleaf, regs[4];
} leaves[] = {{.leaf = 1}, {.leaf = 7}, {.leaf = 7, .subleaf = 1}, {.leaf = 0x80000001}};
static uint64_t enabled_state;

__attribute__((constructor)) static void ask(void) {
  const uint32_t basic = __get_cpuid_max(0, NULL), extended = __get_cpuid_max(0x80000000, NULL);
  for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); ++i) {
    uint32_t* regs = leaves[i].regs;
    if (leaves[i].leaf > (leaves[i].leaf & 0x80000000 ? extended : basic)) continue;
    __cpuid_count(leaves[i].leaf, leaves[i].subleaf, regs[EAX], regs[EBX], regs[ECX], regs[EDX]);
  }
  if (leaves[0].regs[ECX] >> 27 & 1) {  // OSXSAVE
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    enabled_state = (uint64_t)high << 32 | low;
  }
}

static int supports(size_t i) {
  for (size_t n = 0; n < sizeof(leaves) / sizeof(leaves[0]); ++n) {
    if (leaves[n].leaf != features[i].leaf || leaves[n].subleaf != features[i].subleaf) continue;
    if (!(leaves[n].regs[features[i].reg] >> features[i].bit & 1)) return 0;
    return (enabled_state & features[i].state) == features[i].state;
  }
  return 0;
}

#elif defined(__linux__) && (defined(__aarch64__) || defined(__riscv))

#include <sys/auxv.h>

// Bits of AT_HWCAP and AT_HWCAP2, from the kernel's uapi/asm/hwcap.h.
static const struct {
  const char* name;
  unsigned long type;
  int bit;
} features[] = {
#if defined(__aarch64__)
    {"fp-armv8", AT_HWCAP, 0},  {"neon", AT_HWCAP, 1},     {"aes", AT_HWCAP, 3},
    {"sha2", AT_HWCAP, 6},      {"crc", AT_HWCAP, 7},      {"lse", AT_HWCAP, 8},
    {"fullfp16", AT_HWCAP, 10}, {"rdm", AT_HWCAP, 12},     {"jsconv", AT_HWCAP, 13},
    {"complxnum", AT_HWCAP, 14}, {"rcpc", AT_HWCAP, 15},   {"sha3", AT_HWCAP, 17},
    {"sm4", AT_HWCAP, 19},      {"dotprod", AT_HWCAP, 20}, {"sve", AT_HWCAP, 22},
    {"fp16fml", AT_HWCAP, 23},  {"sve2", AT_HWCAP2, 1},    {"frintts", AT_HWCAP2, 8},
    {"i8mm", AT_HWCAP2, 13},    {"bf16", AT_HWCAP2, 14},   {"sme", AT_HWCAP2, 23},
#else
    {"a", AT_HWCAP, 0}, {"c", AT_HWCAP, 2},  {"d", AT_HWCAP, 3},
    {"f", AT_HWCAP, 5}, {"m", AT_HWCAP, 12}, {"v", AT_HWCAP, 21},
#endif
};

static int supports(size_t i) { return getauxval(features[i].type) >> features[i].bit & 1; }

#elif defined(__APPLE__) && defined(__aarch64__)

#include <sys/sysctl.h>

static const struct {
  const char *name, *key;
} features[] = {
    {"fp-armv8", "hw.optional.floatingpoint"},
    {"neon", "hw.optional.AdvSIMD"},
    {"aes", "hw.optional.arm.FEAT_AES"},
    {"sha2", "hw.optional.arm.FEAT_SHA256"},
    {"crc", "hw.optional.armv8_crc32"},
    {"lse", "hw.optional.arm.FEAT_LSE"},
    {"fullfp16", "hw.optional.arm.FEAT_FP16"},
    {"rdm", "hw.optional.arm.FEAT_RDM"},
    {"dotprod", "hw.optional.arm.FEAT_DotProd"},
    {"fp16fml", "hw.optional.arm.FEAT_FHM"},
    {"i8mm", "hw.optional.arm.FEAT_I8MM"},
    {"bf16", "hw.optional.arm.FEAT_BF16"},
};

static int supports(size_t i) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(features[i].key, &value, &size, NULL, 0) == 0 && value;
}

#else

static const struct {
  const char* name;
} features[] = {{""}};

static int supports(size_t i) {
  (void)i;
  return 0;
}

#endif

// Returns 1 if the processor has the feature, 0 if it has not, -1 if the name is not known here.
static int cpu_supports(const char* name) {
  for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); ++i) {
    if (strcmp(features[i].name, name) == 0) return supports(i);
  }
  return -1;
}

// Returns the first position from `start` on of a feature that the processor lacks, `count` if there
// is none. `names` holds the names of all `count` features, each with its terminating zero.
size_t iree_cpu_missing(const char* names, size_t count, size_t start) {
  for (size_t i = 0; i < count; ++i, names += strlen(names) + 1) {
    if (i >= start && cpu_supports(names) == 0) return i;
  }
  return count;
}
