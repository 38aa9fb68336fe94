/*
 * A Redis server that does only what a script says, for faults that a real one does not show. It
 * lives in the test program and is played step by step while the loop turns, so a test is one
 * sequence with no race in it. Failing steps fail the cmocka test.
 *
 * Steps, a line each:
 *   ACCEPT         take the next connection (the one before stays open but is no longer played)
 *   EXPECT WORDS   the next command has these words; '*' stands for any one word,
 *                  '**' for one or more
 *   SEND TEXT      send the text; \r and \n are written so, "SEND +OK\r\n"
 *   CLOSE          close the connection
 *   RESET          close it with a reset
 *   GONE           the client has closed the connection (what it still sends is skipped)
 *   NOTHING        no command has come and none comes in this turn
 *   REFUSE         stop listening: connections are refused
 *   LISTEN         listen again on the same port
 * What is not sent stays unanswered: silence needs no step.
 */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include "net/loop.h"

struct fake_server;

struct fake_server *fake_server_start(struct loop *loop); /* on 127.0.0.1, a free port */
void fake_server_stop(struct fake_server *server);
const char *fake_server_address(const struct fake_server *server); /* "127.0.0.1:PORT" */
void fake_server_play(struct fake_server *server, const char *script);
/* From now on it accepts connections by itself, while the loop turns, and answers each command with
 * these words (as in EXPECT) by itself; the text is that of SEND. A second answer to the same words
 * replaces the first. EXPECT sees the other commands only. */
void fake_server_always(struct fake_server *server, const char *words, const char *text);
unsigned fake_server_count(const struct fake_server *server, const char *words); /* so answered */
/* TCP segments with data that came over the connection so far: one for each small write. */
unsigned fake_server_segments(const struct fake_server *server);

#endif
