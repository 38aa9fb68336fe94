/* Something that happens at a point of virtual time: sim_at() of sim.h. */
#ifndef SIM_EVENT_H
#define SIM_EVENT_H

#include "base/heap.h"

struct sim_event {
    struct heap_node node;
    void (*fn)(struct sim_event *event);
};

#endif
