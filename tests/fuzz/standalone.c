/* Replays inputs through a fuzz target without libFuzzer: each argument is a file or a folder of
 * files. A crash ends the program; so does a folder without any input. */
#include "fuzz.h"

#include "base/buf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int replayed;

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    struct buf content = {0};
    size_t n;
    do {
        n = fread(buf_reserve(&content, 65536), 1, 65536, file);
        buf_grow(&content, n);
    } while (n > 0);
    fclose(file);
    /* A copy of the exact size, so that the sanitizer sees a read behind the end. */
    uint8_t *exact = malloc(content.len ? content.len : 1);
    for (size_t i = 0; exact && i < content.len; i++) {
        exact[i] = (uint8_t)content.data[i];
    }
    fprintf(stderr, "%s (%zu bytes)\n", path, content.len);
    LLVMFuzzerTestOneInput(exact, content.len);
    free(exact);
    buf_fini(&content);
    replayed++;
    return 0;
}

static int replay_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return 1;
    }
    int failed = 0;
    int before = replayed;
    struct dirent *entry;
    while (!failed && (entry = readdir(dir)) != NULL) {
        struct buf name = {0};
        buf_printf(&name, "%s/%s", path, entry->d_name);
        failed = entry->d_name[0] != '.' && replay_file(name.data);
        buf_fini(&name);
    }
    closedir(dir);
    if (!failed && replayed == before) {
        fprintf(stderr, "%s: no input in this folder\n", path);
        failed = 1;
    }
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    int failed = 0;
    for (int i = 1; i < argc && !failed; i++) {
        struct stat info;
        bool is_folder = stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode);
        failed = is_folder ? replay_folder(argv[i]) : replay_file(argv[i]);
    }
    fprintf(stderr, "%d inputs replayed\n", replayed);
    return failed;
}
