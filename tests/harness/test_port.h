/*
 * TCP ports for tests that let go of a port and want it back: outside the range from which the
 * kernel gives ports to others, and reserved among all test programs that use this helper, until
 * released or until the program ends.
 */
#ifndef TEST_PORT_H
#define TEST_PORT_H

struct test_port {
    int number;
    int guard; /* a socket that holds the reservation */
};

/* A port on which nobody listens now; aborts when there is none. */
void test_port_take(struct test_port *port);
void test_port_release(struct test_port *port);

#endif
