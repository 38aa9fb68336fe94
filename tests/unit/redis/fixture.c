#include "fixture.h"

#include <stdlib.h>

/* A test that failed has left its stack, where the answers are. */
static bool answers_are_gone;

void fixture_init(struct fixture *f, const char *address)
{
    answers_are_gone = false;
    *f = (struct fixture){
        .loop = loop_new(),
        .conf = {.address = address, .connect_timeout_ms = 5000, .queue_max = 100000},
    };
}

void fixture_open(struct fixture *f)
{
    f->redis = redis_open(f->loop, &f->conf);
}

void fixture_fini(struct fixture *f)
{
    answers_are_gone = true;
    if (f->redis) {
        redis_close(f->redis);
        loop_turn(f->loop, 0);
    }
    loop_free(f->loop);
}

void on_answer(void *arg, const struct redis_result *result)
{
    struct answer *answer = arg;
    if (answers_are_gone) {
        return;
    }
    answer->count++;
    answer->err = result->err;
    answer->elapsed_us = result->elapsed_us;
    if (result->value) {
        answer->type = redis_value_type(result->value);
        answer->integer = redis_value_int(result->value);
        slice_printable(redis_value_str(result->value), answer->text, sizeof(answer->text));
    } else {
        snprintf(answer->text, sizeof(answer->text), "%s", result->message);
    }
}

int64_t in_ms(const struct fixture *f, int64_t ms)
{
    return loop_now_ms(f->loop) + ms;
}

void tell_until(struct fixture *f, const char *text, int64_t deadline_ms, struct answer *answer)
{
    struct slice words[32];
    size_t count = 0;
    for (const char *word = text; *word && count < 32;) {
        size_t len = strcspn(word, " ");
        words[count++] = slice_make(word, len);
        word += len + strspn(word + len, " ");
    }
    redis_command(f->redis, deadline_ms, words, count, answer ? on_answer : NULL, answer);
}

void tell(struct fixture *f, const char *text, struct answer *answer)
{
    tell_until(f, text, in_ms(f, 10000), answer);
}

struct answer ask(struct fixture *f, const char *text)
{
    struct answer answer = {0};
    tell(f, text, &answer);
    wait_for(f->loop, answer.count > 0);
    return answer;
}
