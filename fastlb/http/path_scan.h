/* One look at a path: does it read the same whichever way it is normalized?  16 bytes a step with the compiler's
 * generic vectors, so that it is SSE2 on x86-64 and NEON on aarch64 without two versions. */
#ifndef FASTLB_PATH_SCAN_H
#define FASTLB_PATH_SCAN_H

#include <stdint.h>
#include <string.h>

typedef uint8_t fl_v16 __attribute__((vector_size(16)));

static inline int fl_path_special16(const char *p) {
    /* p[0:17] is readable */
    fl_v16 a, b, hit;
    uint64_t half[2];
    memcpy(&a, p, 16);
    memcpy(&b, p + 1, 16);
    hit = (fl_v16)((a == '%') | (a == '\\') | ((a == '/') & ((b == '/') | (b == '.'))));
    memcpy(half, &hit, 16);
    return (half[0] | half[1]) != 0;
}

/* True when p[0:n] holds '%', '\\', "//" or "/.". */
static inline int fl_path_special(const char *p, size_t n) {
    char tail[32] = {0};
    while (n >= 17) {
        if (fl_path_special16(p))
            return 1;
        p += 16;
        n -= 16;
    }
    memcpy(tail, p, n);
    return fl_path_special16(tail);
}

#endif
