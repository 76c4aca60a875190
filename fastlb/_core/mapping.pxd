# Mapping memory and reading the clock: what the shared region needs of the C library.

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_READ
        PROT_WRITE
        MAP_SHARED
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_NORESERVE
        MADV_DONTDUMP
    void* MAP_FAILED
    void* mmap(void* addr, size_t n, int prot, int flags, int fd, long off)
    int munmap(void* addr, size_t n)
    int madvise(void* addr, size_t n, int advice)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* t)
