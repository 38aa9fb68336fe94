#include "wire/shape.h"

#include <saga/v1/saga.pb.h>

#define PLAIN(message, owner, type, name)                                                          \
    {                                                                                              \
        saga_v1_##message##_##name##_tag, type, #name, offsetof(struct owner, name), 0, NULL, 0    \
    }
#define TEXT(message, owner, name) PLAIN(message, owner, FIELD_TEXT, name)
#define ENUM(message, owner, name, last)                                                           \
    {                                                                                              \
        saga_v1_##message##_##name##_tag, FIELD_ENUM, #name, offsetof(struct owner, name), last,   \
            NULL, 0                                                                                \
    }
#define LIST(message, owner, name, member, count, most, shape)                                     \
    {                                                                                              \
        saga_v1_##message##_##name##_tag, FIELD_LIST, #name, offsetof(struct owner, member), most, \
            shape, offsetof(struct owner, count)                                                   \
    }
#define SHAPE(fields, type)                                                                        \
    {                                                                                              \
        fields, sizeof(fields) / sizeof((fields)[0]), sizeof(type)                                 \
    }

static const struct field header_fields[] = {
    TEXT(Header, wire_header, name),
    TEXT(Header, wire_header, value),
};
static const struct shape header_shape = SHAPE(header_fields, struct wire_header);

static const struct field hello_fields[] = {
    PLAIN(Hello, wire_hello, FIELD_UINT32, version),
    TEXT(Hello, wire_hello, program),
    TEXT(Hello, wire_hello, token),
};
static const struct shape hello_shape = SHAPE(hello_fields, struct wire_hello);

static const struct field error_fields[] = {
    ENUM(Error, wire_error, code, WIRE_ERROR_INTERNAL),
    TEXT(Error, wire_error, message),
    TEXT(Error, wire_error, field),
    PLAIN(Error, wire_error, FIELD_UINT32, retry_after_ms),
};
static const struct shape error_shape = SHAPE(error_fields, struct wire_error);

static const struct shape new_gid_shape = {NULL, 0, 0};

static const struct field new_gid_reply_fields[] = {
    {saga_v1_NewGidReply_gid_tag, FIELD_TEXT, "gid", 0, 0, NULL, 0},
};
static const struct shape new_gid_reply_shape = SHAPE(new_gid_reply_fields, struct slice);

static const struct field step_fields[] = {
    TEXT(Step, wire_step, action),
    TEXT(Step, wire_step, compensate),
    PLAIN(Step, wire_step, FIELD_BYTES, payload),
    TEXT(Step, wire_step, try_url),
    TEXT(Step, wire_step, confirm),
    TEXT(Step, wire_step, cancel),
    {saga_v1_Step_after_tag, FIELD_INDICES, "after", offsetof(struct wire_step, after),
     WIRE_STEPS_MAX, NULL, offsetof(struct wire_step, after_count)},
    PLAIN(Step, wire_step, FIELD_INT63, request_timeout_ms),
    PLAIN(Step, wire_step, FIELD_INT63, retry_interval_ms),
    LIST(Step, wire_step, branch_headers, headers, header_count, WIRE_HEADERS_MAX, &header_shape),
};
static const struct shape step_shape = SHAPE(step_fields, struct wire_step);

static const struct field options_fields[] = {
    PLAIN(Options, wire_options, FIELD_INT63, timeout_to_fail_ms),
    PLAIN(Options, wire_options, FIELD_INT63, retry_interval_ms),
    PLAIN(Options, wire_options, FIELD_INT63, request_timeout_ms),
    PLAIN(Options, wire_options, FIELD_UINT32, retry_limit),
    LIST(Options, wire_options, branch_headers, headers, header_count, WIRE_HEADERS_MAX,
         &header_shape),
    PLAIN(Options, wire_options, FIELD_BOOL, keep_results),
};
static const struct shape options_shape = SHAPE(options_fields, struct wire_options);

static const struct field submit_fields[] = {
    TEXT(Submit, wire_submit, gid),
    TEXT(Submit, wire_submit, trans_type),
    LIST(Submit, wire_submit, steps, steps, step_count, WIRE_STEPS_MAX, &step_shape),
    {saga_v1_Submit_options_tag, FIELD_MESSAGE, "options", offsetof(struct wire_submit, options), 0,
     &options_shape, 0},
    PLAIN(Submit, wire_submit, FIELD_BOOL, wait_result),
    PLAIN(Submit, wire_submit, FIELD_UINT32, wait_timeout_ms),
    TEXT(Submit, wire_submit, query_prepared),
    TEXT(Submit, wire_submit, custom_data),
    PLAIN(Submit, wire_submit, FIELD_BOOL, concurrent),
    PLAIN(Submit, wire_submit, FIELD_INT63, delay_ms),
};
static const struct shape submit_shape = SHAPE(submit_fields, struct wire_submit);

static const struct field register_fields[] = {
    TEXT(RegisterBranch, wire_register, gid),
    TEXT(RegisterBranch, wire_register, trans_type),
    TEXT(RegisterBranch, wire_register, branch_id),
    TEXT(RegisterBranch, wire_register, confirm),
    TEXT(RegisterBranch, wire_register, cancel),
    PLAIN(RegisterBranch, wire_register, FIELD_BYTES, payload),
    TEXT(RegisterBranch, wire_register, op),
    ENUM(RegisterBranch, wire_register, status, WIRE_STATUS_FAILED),
};
static const struct shape register_shape = SHAPE(register_fields, struct wire_register);

static const struct field abort_fields[] = {
    TEXT(Abort, wire_abort, gid),
    TEXT(Abort, wire_abort, reason),
};
static const struct shape abort_shape = SHAPE(abort_fields, struct wire_abort);

static const struct field workflow_fields[] = {
    TEXT(Workflow, wire_workflow, gid),
    TEXT(Workflow, wire_workflow, name),
    PLAIN(Workflow, wire_workflow, FIELD_BYTES, data),
    TEXT(Workflow, wire_workflow, resume),
    {saga_v1_Workflow_options_tag, FIELD_MESSAGE, "options",
     offsetof(struct wire_workflow, options), 0, &options_shape, 0},
};
static const struct shape workflow_shape = SHAPE(workflow_fields, struct wire_workflow);

static const struct field finish_fields[] = {
    TEXT(Finish, wire_finish, gid),
    ENUM(Finish, wire_finish, status, WIRE_STATUS_FAILED),
    TEXT(Finish, wire_finish, reason),
    PLAIN(Finish, wire_finish, FIELD_BYTES, result),
};
static const struct shape finish_shape = SHAPE(finish_fields, struct wire_finish);

static const struct field submit_reply_fields[] = {
    TEXT(SubmitReply, wire_submit_reply, gid),
    ENUM(SubmitReply, wire_submit_reply, status, WIRE_STATUS_FAILED),
    TEXT(SubmitReply, wire_submit_reply, rollback_reason),
};
static const struct shape submit_reply_shape = SHAPE(submit_reply_fields, struct wire_submit_reply);

static const struct field query_fields[] = {
    {saga_v1_Query_gid_tag, FIELD_TEXT, "gid", 0, 0, NULL, 0},
};
static const struct shape query_shape = SHAPE(query_fields, struct slice);

static const struct field branch_op_fields[] = {
    TEXT(BranchOp, wire_branch_op, branch_id),
    TEXT(BranchOp, wire_branch_op, op),
    TEXT(BranchOp, wire_branch_op, url),
    ENUM(BranchOp, wire_branch_op, status, WIRE_STATUS_FAILED),
    PLAIN(BranchOp, wire_branch_op, FIELD_BYTES, result),
};
static const struct shape branch_op_shape = SHAPE(branch_op_fields, struct wire_branch_op);

static const struct field history_fields[] = {
    PLAIN(HistoryEntry, wire_history_entry, FIELD_INT63, time_ms),
    TEXT(HistoryEntry, wire_history_entry, op),
    TEXT(HistoryEntry, wire_history_entry, result),
    PLAIN(HistoryEntry, wire_history_entry, FIELD_INT63, duration_ms),
    TEXT(HistoryEntry, wire_history_entry, note),
};
static const struct shape history_shape = SHAPE(history_fields, struct wire_history_entry);

static const struct field query_reply_fields[] = {
    PLAIN(QueryReply, wire_query_reply, FIELD_BOOL, found),
    TEXT(QueryReply, wire_query_reply, gid),
    TEXT(QueryReply, wire_query_reply, trans_type),
    ENUM(QueryReply, wire_query_reply, status, WIRE_STATUS_FAILED),
    TEXT(QueryReply, wire_query_reply, rollback_reason),
    PLAIN(QueryReply, wire_query_reply, FIELD_INT63, create_time_ms),
    PLAIN(QueryReply, wire_query_reply, FIELD_INT63, update_time_ms),
    LIST(QueryReply, wire_query_reply, branches, branches, branch_count, WIRE_BRANCH_OPS_MAX,
         &branch_op_shape),
    LIST(QueryReply, wire_query_reply, history, history, history_count, WIRE_HISTORY_MAX,
         &history_shape),
    PLAIN(QueryReply, wire_query_reply, FIELD_BYTES, result),
    TEXT(QueryReply, wire_query_reply, parked),
    PLAIN(QueryReply, wire_query_reply, FIELD_INT63, parked_since_ms),
};
static const struct shape query_reply_shape = SHAPE(query_reply_fields, struct wire_query_reply);

static const struct field call_fields[] = {
    TEXT(Call, wire_call, gid),
    TEXT(Call, wire_call, branch_id),
    TEXT(Call, wire_call, op),
    TEXT(Call, wire_call, trans_type),
    TEXT(Call, wire_call, method),
    PLAIN(Call, wire_call, FIELD_BYTES, payload),
    PLAIN(Call, wire_call, FIELD_UINT32, timeout_ms),
    PLAIN(Call, wire_call, FIELD_INT63, started_ms),
    LIST(Call, wire_call, headers, headers, header_count, WIRE_HEADERS_MAX, &header_shape),
    TEXT(Call, wire_call, traceparent),
};
static const struct shape call_shape = SHAPE(call_fields, struct wire_call);

static const struct field call_reply_fields[] = {
    ENUM(CallReply, wire_call_reply, result, WIRE_RESULT_CONFLICT),
    PLAIN(CallReply, wire_call_reply, FIELD_BYTES, payload),
    TEXT(CallReply, wire_call_reply, message),
};
static const struct shape call_reply_shape = SHAPE(call_reply_fields, struct wire_call_reply);

/* The frequent ones first. */
static const struct shape_body bodies[] = {
    {WIRE_CALL_REPLY, saga_v1_Frame_call_reply_tag, &call_reply_shape},
    {WIRE_CALL, saga_v1_Frame_call_tag, &call_shape},
    {WIRE_SUBMIT, saga_v1_Frame_submit_tag, &submit_shape},
    {WIRE_SUBMIT_REPLY, saga_v1_Frame_submit_reply_tag, &submit_reply_shape},
    {WIRE_PREPARE, saga_v1_Frame_prepare_tag, &submit_shape},
    {WIRE_REGISTER, saga_v1_Frame_register_branch_tag, &register_shape},
    {WIRE_ABORT, saga_v1_Frame_abort_tag, &abort_shape},
    {WIRE_WORKFLOW, saga_v1_Frame_workflow_tag, &workflow_shape},
    {WIRE_FINISH, saga_v1_Frame_finish_tag, &finish_shape},
    {WIRE_NEW_GID, saga_v1_Frame_new_gid_tag, &new_gid_shape},
    {WIRE_NEW_GID_REPLY, saga_v1_Frame_new_gid_reply_tag, &new_gid_reply_shape},
    {WIRE_QUERY, saga_v1_Frame_query_tag, &query_shape},
    {WIRE_QUERY_REPLY, saga_v1_Frame_query_reply_tag, &query_reply_shape},
    {WIRE_HELLO, saga_v1_Frame_hello_tag, &hello_shape},
    {WIRE_ERROR, saga_v1_Frame_error_tag, &error_shape},
};

_Static_assert((int)WIRE_ERROR_INVALID == (int)saga_v1_ErrorCode_ERROR_INVALID &&
                   (int)WIRE_ERROR_VERSION == (int)saga_v1_ErrorCode_ERROR_VERSION &&
                   (int)WIRE_ERROR_DENIED == (int)saga_v1_ErrorCode_ERROR_DENIED &&
                   (int)WIRE_ERROR_LIMIT == (int)saga_v1_ErrorCode_ERROR_LIMIT &&
                   (int)WIRE_ERROR_BUSY == (int)saga_v1_ErrorCode_ERROR_BUSY &&
                   (int)WIRE_ERROR_UNAVAILABLE == (int)saga_v1_ErrorCode_ERROR_UNAVAILABLE &&
                   (int)WIRE_ERROR_CONFLICT == (int)saga_v1_ErrorCode_ERROR_CONFLICT &&
                   (int)WIRE_ERROR_NOT_FOUND == (int)saga_v1_ErrorCode_ERROR_NOT_FOUND &&
                   (int)WIRE_ERROR_INTERNAL == (int)_saga_v1_ErrorCode_MAX,
               "wire_error_code and saga.proto differ");
_Static_assert((int)WIRE_STATUS_PREPARED == (int)saga_v1_Status_STATUS_PREPARED &&
                   (int)WIRE_STATUS_SUBMITTED == (int)saga_v1_Status_STATUS_SUBMITTED &&
                   (int)WIRE_STATUS_ABORTING == (int)saga_v1_Status_STATUS_ABORTING &&
                   (int)WIRE_STATUS_SUCCEED == (int)saga_v1_Status_STATUS_SUCCEED &&
                   (int)WIRE_STATUS_FAILED == (int)_saga_v1_Status_MAX,
               "wire_status and saga.proto differ");
_Static_assert((int)WIRE_SUCCESS == (int)saga_v1_Result_RESULT_SUCCESS &&
                   (int)WIRE_FAILURE == (int)saga_v1_Result_RESULT_FAILURE &&
                   (int)WIRE_ONGOING == (int)saga_v1_Result_RESULT_ONGOING &&
                   (int)WIRE_RESULT_ERROR == (int)saga_v1_Result_RESULT_ERROR &&
                   (int)WIRE_RESULT_CONFLICT == (int)_saga_v1_Result_MAX,
               "wire_result and saga.proto differ");
_Static_assert(WIRE_STEPS_MAX <= 128, "an index is a varint of one byte");
/* FIELD_ENUM reads and writes them through the first; query_gid and new_gid lie where all do. */
_Static_assert(sizeof(enum wire_status) == sizeof(unsigned) &&
                   sizeof(enum wire_result) == sizeof(unsigned) &&
                   sizeof(enum wire_error_code) == sizeof(unsigned),
               "enums are stored as unsigned");
_Static_assert(offsetof(struct wire_message, query_gid) == WIRE_BODY_OFFSET &&
                   offsetof(struct wire_message, new_gid) == WIRE_BODY_OFFSET,
               "bodies share their place");

const struct field *shape_field(const struct shape *shape, uint32_t tag)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (shape->fields[i].tag == tag) {
            return &shape->fields[i];
        }
    }
    return NULL;
}

const struct shape_body *shape_body_of_tag(uint32_t tag)
{
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        if (bodies[i].tag == tag) {
            return &bodies[i];
        }
    }
    return NULL;
}

const struct shape_body *shape_body_of_kind(enum wire_kind kind)
{
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        if (bodies[i].kind == kind) {
            return &bodies[i];
        }
    }
    return NULL;
}
