#include "services/user/user.h"

#include "base/mem.h"

#include <openssl/crypto.h>
#include <stdlib.h>

struct login {
    struct user_service *user;
    char password[257];
    bool known;
    struct user_record record;
    user_cb cb;
    void *arg;
};

static void finish(struct login *login, const struct data_answer *answer)
{
    login->cb(login->arg, answer, answer->kind == DATA_OK ? &login->record : NULL);
    OPENSSL_cleanse(login, sizeof(*login));
    free(login);
}

static void on_hash(void *arg, enum err err, const char *hash)
{
    static const struct data_answer ok = {DATA_OK, SLICE_LIT(""), NULL};
    static const struct data_answer wrong = {
        DATA_REFUSED, SLICE_LIT("bad_login: mobile number or password is wrong"), NULL};
    static const struct data_answer busy = {DATA_AWAY, SLICE_LIT("too many logins at once"), NULL};
    struct login *login = arg;
    if (err != ERR_OK) {
        finish(login, &busy);
    } else {
        bool right = login->known && password_equals(hash, login->record.pass);
        finish(login, right ? &ok : &wrong);
    }
}

static void on_loaded(void *arg, const struct data_answer *answer, const struct user_record *record)
{
    struct login *login = arg;
    if (answer->kind == DATA_AWAY || answer->kind == DATA_BROKEN) {
        finish(login, answer);
        return;
    }
    login->known = record != NULL;
    if (record) {
        login->record = *record;
    }
    /* An unknown number costs the same time as a wrong password. */
    password_hash_like(login->user->passwords, login->password, login->record.pass, on_hash, login);
}

void user_login(struct user_service *user, const user_LoginRequest *request, user_cb cb, void *arg)
{
    struct login *login = mem_new(struct login);
    _Static_assert(sizeof(login->password) == sizeof(request->password), "copied as a whole");
    login->user = user;
    login->cb = cb;
    login->arg = arg;
    for (size_t i = 0; i < sizeof(login->password); i++) {
        login->password[i] = request->password[i];
    }
    user_load_by_mobile(user, slice_str(request->mobile), on_loaded, login);
}
