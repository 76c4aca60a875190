/* Debug switch: FL_ASSERT aborts in a debug build and vanishes in a release build. */
#ifndef FASTLB_DEBUG_H
#define FASTLB_DEBUG_H
#include <stdio.h>
#include <stdlib.h>
#ifndef FASTLB_DEBUG
#define FASTLB_DEBUG 0
#endif
#if FASTLB_DEBUG
#define FL_ASSERT(cond, text)                                                                                   \
    do {                                                                                                        \
        if (!(cond)) {                                                                                          \
            fprintf(stderr, "fastlb: assertion failed: %s (%s:%d)\n", text, __FILE__, __LINE__);                \
            abort();                                                                                            \
        }                                                                                                       \
    } while (0)
#else
#define FL_ASSERT(cond, text) ((void)0)
#endif
#endif
