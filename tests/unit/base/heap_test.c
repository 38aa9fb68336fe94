#include "base/heap.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 200 };

/* The naive model: a node is in when its flag is set; the first is the least of those. */
struct model {
    struct heap heap;
    struct heap_node nodes[NODES];
    bool in[NODES];
};

static int64_t model_first(const struct model *m)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < NODES; i++) {
        if (m->in[i] && m->nodes[i].at < first) {
            first = m->nodes[i].at;
        }
    }
    return first;
}

static void expect_as_model(const struct model *m)
{
    size_t count = 0;
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(heap_has(&m->nodes[i]), m->in[i]);
        count += m->in[i];
    }
    assert_int_equal(m->heap.count, count);
    const struct heap_node *first = heap_first(&m->heap);
    if (count == 0) {
        assert_null(first);
    } else {
        assert_int_equal(first->at, model_first(m));
    }
}

static void random_operations_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model m;
        memset(&m, 0, sizeof(m));
        struct rng rng;
        rng_seed(&rng, seed);
        for (int step = 0; step < 2000; step++) {
            size_t i = rng_below(&rng, NODES);
            if (rng_below(&rng, 3) == 0) {
                heap_remove(&m.heap, &m.nodes[i]); /* often one that is not in */
                m.in[i] = false;
            } else {
                heap_set(&m.heap, &m.nodes[i], (int64_t)rng_below(&rng, 50) - 25);
                m.in[i] = true;
            }
            expect_as_model(&m);
        }
        heap_fini(&m.heap);
    }
}

static void everything_comes_out_in_order(void **state)
{
    (void)state;
    struct heap heap = {0};
    struct heap_node nodes[NODES] = {{0}};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < NODES; i++) {
        heap_set(&heap, &nodes[i], (int64_t)rng_next(&rng));
    }
    int64_t last = INT64_MIN;
    struct heap_node *node;
    while ((node = heap_first(&heap)) != NULL) {
        assert_true(node->at >= last);
        last = node->at;
        heap_remove(&heap, node);
    }
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_naive_model),
        cmocka_unit_test(everything_comes_out_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
