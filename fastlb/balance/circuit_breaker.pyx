"""Circuit breakers: who fails too much gets nothing for a while, then a few requests to show that it is well again.

Closed: every request is counted in one of ten buckets of a rolling window (Hystrix's `metrics.rollingStats`); with at
least `min_requests` in it, a share of failed ones of `error_share`, or of slow ones of `slow_share`, opens the breaker.
Open: nothing passes for `open_ms`. Half open: exactly `trials` requests pass, over all processes; the shares among
them decide (Resilience4j's `permittedNumberOfCallsInHalfOpenState`): open again as soon as enough have failed, closed
when all have ended well enough. A trial that never ends must not keep the breaker half open for ever, nor must there be
too few requests to use all permits: `trial_ms` after the first one, those that have not ended count as failed, and the
shares of those that were made decide.

All of it is compare-and-swap on words of a shared record, so that no process ever waits for another, and a killed one
leaves nothing behind but a permit that the time limit writes off. `word` holds state, generation and time; `trials` is
valid for the generation it names, and whoever comes first in a new one starts it anew.
"""

from libc.stdlib cimport calloc, free

from fastlb._core.atomics cimport (
    fl_add32, fl_add64, fl_and32, fl_cas64, fl_load32, fl_load64, fl_or32, fl_store64)
from fastlb._core.shared cimport BREAKER_BUCKETS, SERVER_OPEN, SERVER_TRIAL

cdef enum:
    STAMP = 0x3fffff            # 22 bits: a bucket's number, so that it is stale for 4 million buckets, not 10
    MOST = 0x1fffff             # 21 bits: requests of a bucket; further ones are not counted, those there are a sample
    GENERATIONS = 0xffff
    FIELD = 0xfff


cdef inline uint64_t make_word(int state, uint32_t generation, uint64_t ms) noexcept nogil:
    return <uint64_t>state | <uint64_t>(generation & GENERATIONS) << 2 | ms << 18


cdef inline uint32_t generation_of(uint64_t word) noexcept nogil:
    return <uint32_t>(word >> 2) & GENERATIONS


# Fields of `trials`.
cdef inline uint64_t make_trials(
    uint32_t generation, uint32_t taken, uint32_t ended, uint32_t failed, uint32_t slow
) noexcept nogil:
    return (
        <uint64_t>(generation & GENERATIONS) | <uint64_t>taken << 16 | <uint64_t>ended << 28 | <uint64_t>failed << 40
        | <uint64_t>slow << 52
    )


cdef inline uint32_t field(uint64_t trials, int shift) noexcept nogil:
    return <uint32_t>(trials >> shift) & FIELD


cdef inline bint too_many(uint64_t bad, uint64_t total, uint32_t share) noexcept nogil:
    return share and bad and bad * 10000 >= total * share


cdef void count(uint64_t* buckets, uint64_t number, bint bad) noexcept nogil:
    """One more request in bucket `number` of all time."""
    cdef uint64_t* bucket = &buckets[number % BREAKER_BUCKETS]
    cdef uint64_t stamp = number & STAMP
    cdef uint64_t seen, fresh, total
    while True:
        seen = fl_load64(bucket)
        if seen >> 42 != stamp:
            if seen and (stamp - (seen >> 42)) & STAMP > STAMP >> 1:
                return                  # this process slept through a whole window
            fresh = stamp << 42 | <uint64_t>1 << 21 | <uint64_t>bad
        else:
            total = seen >> 21 & MOST
            if total == MOST:
                return
            fresh = stamp << 42 | (total + 1) << 21 | ((seen & MOST) + <uint64_t>bad)
        if fl_cas64(bucket, seen, fresh):
            return


cdef void add_up(const uint64_t* buckets, uint64_t number, uint64_t* total, uint64_t* bad) noexcept nogil:
    """The window that ends with bucket `number`."""
    cdef uint64_t seen, age
    cdef int i
    total[0] = bad[0] = 0
    for i in range(BREAKER_BUCKETS):
        seen = fl_load64(&buckets[i])
        age = (number - (seen >> 42)) & STAMP
        if age < BREAKER_BUCKETS and seen:
            total[0] += seen >> 21 & MOST
            bad[0] += seen & MOST


cdef bint turn(BreakerLine* b, uint64_t word, int state, uint64_t until) noexcept nogil:
    """From exactly `word` to `state` of the next generation. False when another process was faster."""
    return fl_cas64(&b.word, word, make_word(state, generation_of(word) + 1, until))


cdef bint open_it(
    BreakerLine* b, const BreakerRules* r, uint64_t word, int why, uint64_t bad, uint64_t total, uint64_t now_ms
) noexcept nogil:
    if not turn(b, word, BREAKER_OPEN, now_ms + r.open_ms):
        return False
    fl_add64(&b.opened, 1)
    fl_store64(&b.why, <uint64_t>why | (bad & 0x7fffffff) << 2 | (total & 0x7fffffff) << 33)
    return True


cdef bint close_it(BreakerLine* b, uint64_t word) noexcept nogil:
    """The window starts empty. Nothing is counted in it while the breaker is half open."""
    cdef int i
    for i in range(BREAKER_BUCKETS):
        fl_store64(&b.errors[i], 0)
        fl_store64(&b.slow[i], 0)
    return turn(b, word, BREAKER_CLOSED, 0)


cdef bint decide(
    BreakerLine* b, const BreakerRules* r, uint64_t word, uint32_t of, uint32_t failed, uint32_t slow, bint last,
    uint64_t now_ms
) noexcept nogil:
    """What the trials say: `of` count, `last` when no more will."""
    if too_many(failed, of, r.error_share):
        return open_it(b, r, word, WHY_TRIALS, failed, of, now_ms)
    if too_many(slow, of, r.slow_share):
        return open_it(b, r, word, WHY_TRIALS, slow, of, now_ms)
    return last and close_it(b, word)


cdef uint32_t take_trial(BreakerLine* b, const BreakerRules* r, uint64_t word, uint64_t now_ms) noexcept nogil:
    cdef uint32_t generation = generation_of(word)
    cdef uint64_t seen, fresh
    cdef uint32_t taken
    while True:
        seen = fl_load64(&b.trials)
        if <uint32_t>seen & GENERATIONS != generation or seen == 0:
            taken = 0
            fresh = make_trials(generation, 1, 0, 0, 0)
        else:
            taken = field(seen, 16)
            if taken >= r.trials:
                return PERMIT_NONE
            fresh = seen + (<uint64_t>1 << 16)
        if fl_cas64(&b.trials, seen, fresh):
            break
    if breaker_until(word) == 0 and r.trial_ms:
        # The first one: the time limit starts. Another process may have set it, which is as good.
        fl_cas64(&b.word, word, make_word(BREAKER_HALF_OPEN, generation, now_ms + r.trial_ms))
    return PERMIT_TRIAL | generation


cdef uint32_t breaker_admit(BreakerLine* b, const BreakerRules* r, uint64_t now_ms) noexcept nogil:
    cdef uint64_t word = fl_load64(&b.word)
    cdef int _i
    if breaker_state(word) == BREAKER_CLOSED:
        return PERMIT_FREE
    for _i in range(2):
        if breaker_until(word) and now_ms >= breaker_until(word):
            breaker_tick(b, r, now_ms)
            word = fl_load64(&b.word)
        if breaker_state(word) == BREAKER_CLOSED:
            return PERMIT_FREE
        if breaker_state(word) == BREAKER_HALF_OPEN:
            return take_trial(b, r, word, now_ms)
    return PERMIT_NONE


cdef bint breaker_tick(BreakerLine* b, const BreakerRules* r, uint64_t now_ms) noexcept nogil:
    cdef uint64_t word = fl_load64(&b.word)
    cdef uint64_t seen
    cdef uint32_t taken, pending, failed, slow
    if breaker_state(word) == BREAKER_CLOSED or breaker_until(word) == 0 or now_ms < breaker_until(word):
        return False
    if breaker_state(word) == BREAKER_OPEN:
        return turn(b, word, BREAKER_HALF_OPEN, 0)
    seen = fl_load64(&b.trials)
    taken = field(seen, 16) if <uint32_t>seen & GENERATIONS == generation_of(word) else 0
    if taken == 0:                      # all were given back: the next one is the first again
        fl_cas64(&b.word, word, make_word(BREAKER_HALF_OPEN, generation_of(word), 0))
        return False
    pending = taken - field(seen, 28)
    failed = field(seen, 40)
    slow = field(seen, 52)
    if r.error_share:
        failed += pending
    else:
        slow += pending
    return decide(b, r, word, taken, failed, slow, True, now_ms)


cdef bint breaker_ended(
    BreakerLine* b, const BreakerRules* r, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms
) noexcept nogil:
    cdef uint64_t word, number, seen, fresh, total, bad
    cdef bint slow = r.slow_share and not failed and latency_us >= r.slow_us
    if permit & PERMIT_TRIAL:
        while True:
            seen = fl_load64(&b.trials)
            if <uint32_t>seen & GENERATIONS != permit & GENERATIONS:
                return False            # of a period that is over
            fresh = seen + (<uint64_t>1 << 28)
            if failed:
                fresh += <uint64_t>1 << 40
            if slow:
                fresh += <uint64_t>1 << 52
            if fl_cas64(&b.trials, seen, fresh):
                break
        while True:                     # more than once only when the time limit is set at the same moment
            word = fl_load64(&b.word)
            if breaker_state(word) != BREAKER_HALF_OPEN or generation_of(word) != permit & GENERATIONS:
                return False
            if decide(
                b, r, word, r.trials, field(fresh, 40), field(fresh, 52), field(fresh, 28) >= r.trials, now_ms
            ):
                return True
            if fl_load64(&b.word) == word:
                return False
    word = fl_load64(&b.word)
    if breaker_state(word) != BREAKER_CLOSED:
        return False                    # it began before the breaker opened, and tells nothing new
    number = now_ms // r.bucket_ms
    if r.error_share:
        count(b.errors, number, failed)
        add_up(b.errors, number, &total, &bad)
        if total >= r.min_requests and too_many(bad, total, r.error_share):
            return open_it(b, r, word, WHY_ERRORS, bad, total, now_ms)
    if r.slow_share and not failed:
        count(b.slow, number, slow)
        add_up(b.slow, number, &total, &bad)
        if total >= r.min_requests and too_many(bad, total, r.slow_share):
            return open_it(b, r, word, WHY_SLOW, bad, total, now_ms)
    return False


cdef void breaker_returned(BreakerLine* b, uint32_t permit) noexcept nogil:
    cdef uint64_t seen
    if not permit & PERMIT_TRIAL:
        return
    while True:
        seen = fl_load64(&b.trials)
        if <uint32_t>seen & GENERATIONS != permit & GENERATIONS or field(seen, 16) == 0:
            return
        if fl_cas64(&b.trials, seen, seen - (<uint64_t>1 << 16)):
            return


cdef int read_rules(BreakerRules* rules, object values) except -1:
    rules.error_share = <uint32_t>round(values.errors * 10000)
    rules.slow_share = <uint32_t>round(values.slow * 10000)
    rules.slow_us = <uint32_t>min(round(values.slow_after * 1e6), 0xffffffff)
    rules.min_requests = values.min_requests
    rules.bucket_ms = max(1, round(values.window * 1000 / BREAKER_BUCKETS))
    rules.open_ms = max(1, round(values.open * 1000))
    rules.trials = values.trials
    rules.trial_ms = round(values.trial_time * 1000)
    if not 1 <= values.trials <= MAX_TRIALS:
        raise ValueError(f"trials: {values.trials} is not in 1..{MAX_TRIALS}")
    return 0


cdef uint32_t seconds_until(uint64_t word, uint64_t now_ms) noexcept nogil:
    cdef uint64_t until = breaker_until(word)
    if breaker_state(word) != BREAKER_OPEN or until <= now_ms:
        return 1
    return <uint32_t>((until - now_ms + 999) // 1000)


cdef class GroupBreaker:
    """The breaker of a group as a whole."""

    cdef uint32_t admit(self, uint64_t now_ms) noexcept:
        cdef uint32_t permit = breaker_admit(self.line, &self.rules, now_ms)
        if permit == PERMIT_NONE:
            fl_add64(&self.line.refused, 1)
        return permit

    cdef void ended(self, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept:
        breaker_ended(self.line, &self.rules, permit, failed, latency_us, now_ms)

    cdef void returned(self, uint32_t permit) noexcept:
        breaker_returned(self.line, permit)

    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept:
        return seconds_until(fl_load64(&self.line.word), now_ms)


cdef class ServerBreakers:
    """The breakers of a group's servers."""

    def __cinit__(self, ServerSet servers not None):
        self.servers = servers
        self.lines = <BreakerLine**>calloc(servers.count + 1, sizeof(BreakerLine*))
        if self.lines is NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.lines)

    cdef uint32_t admit(self, int slot, uint64_t now_ms) noexcept:
        cdef uint64_t before = fl_load64(&self.lines[slot].word)
        cdef uint32_t permit = breaker_admit(self.lines[slot], &self.rules, now_ms)
        if breaker_state(fl_load64(&self.lines[slot].word)) != breaker_state(before):
            self.publish(slot)
        return permit

    cdef bint has_room(self, int slot) noexcept:
        cdef uint64_t word = fl_load64(&self.lines[slot].word)
        cdef uint64_t seen
        if breaker_state(word) != BREAKER_HALF_OPEN:
            return breaker_state(word) == BREAKER_CLOSED
        seen = fl_load64(&self.lines[slot].trials)
        return <uint32_t>seen & GENERATIONS != generation_of(word) or field(seen, 16) < self.rules.trials

    cdef void ended(self, int slot, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept:
        if breaker_ended(self.lines[slot], &self.rules, permit, failed, latency_us, now_ms):
            self.publish(slot)

    cdef void returned(self, int slot, uint32_t permit) noexcept:
        breaker_returned(self.lines[slot], permit)

    cdef uint64_t next_wake(self) noexcept:
        cdef uint64_t first = 0, until, word
        cdef uint32_t i
        for i in range(self.servers.count):
            if not fl_load32(&self.servers.slots[i].line.state) & (SERVER_OPEN | SERVER_TRIAL):
                continue
            word = fl_load64(&self.lines[i].word)
            until = breaker_until(word)
            if breaker_state(word) != BREAKER_CLOSED and until and (first == 0 or until < first):
                first = until
        return first

    cdef void wake(self, uint64_t now_ms) noexcept:
        cdef uint32_t i
        for i in range(self.servers.count):
            if breaker_tick(self.lines[i], &self.rules, now_ms):
                self.publish(<int>i)

    cdef void publish(self, int slot) noexcept:
        cdef ServerLine* line = self.servers.slots[slot].line
        cdef int state = breaker_state(fl_load64(&self.lines[slot].word))
        # The flag that keeps requests away comes first and goes last.
        if state == BREAKER_OPEN:
            fl_or32(&line.state, SERVER_OPEN)
            fl_and32(&line.state, ~<uint32_t>SERVER_TRIAL)
        elif state == BREAKER_HALF_OPEN:
            fl_or32(&line.state, SERVER_TRIAL)
            fl_and32(&line.state, ~<uint32_t>SERVER_OPEN)
        else:
            fl_and32(&line.state, ~<uint32_t>(SERVER_OPEN | SERVER_TRIAL))
        fl_add32(&line.epoch, 1)
        fl_add32(&self.servers.group.epoch, 1)

    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept:
        cdef uint32_t least = 0, seconds
        cdef uint32_t i
        for i in range(self.servers.count):
            if fl_load32(&self.servers.slots[i].line.state) & SERVER_OPEN:
                seconds = seconds_until(fl_load64(&self.lines[i].word), now_ms)
                if least == 0 or seconds < least:
                    least = seconds
        return least if least else 1
