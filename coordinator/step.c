#include "coordinator/step.h"

#include "base/check.h"

const char *call_verdict_name(enum call_verdict verdict)
{
    switch (verdict) {
    case CALL_SUCCESS: return "SUCCESS";
    case CALL_FAILURE: return "FAILURE";
    case CALL_ONGOING: return "ONGOING";
    case CALL_ERROR: return "ERROR";
    case CALL_CONFLICT: return "CONFLICT";
    }
    unreachable("call verdict");
}
