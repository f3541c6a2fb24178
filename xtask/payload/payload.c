/* The program that the benchmark runs in containers; compiled static by `cargo xtask bench`.
 *
 *   payload true               end at once with 0
 *   payload sleep              wait for a signal; SIGTERM ends it with 0
 *   payload spam BYTES         write so many bytes of lines to stdout, 100 bytes a line
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 100, BLOCK = 64 * LINE * 10 };

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static int spam(long long bytes) {
    static char block[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        block[i] = i % LINE == LINE - 1 ? '\n' : (char)('a' + i % 26);
    while (bytes > 0) {
        size_t length = bytes < BLOCK ? (size_t)bytes : BLOCK;
        ssize_t written = write(1, block, length);
        if (written < 0)
            return 1;
        /* A short write would break the lines; the rest of the block follows. */
        for (size_t at = (size_t)written; at < length; at += (size_t)written) {
            written = write(1, block + at, length - at);
            if (written < 0)
                return 1;
        }
        bytes -= (long long)length;
    }
    return 0;
}

int main(int argc, char **argv) {
    signal(SIGTERM, end);
    if (argc == 2 && strcmp(argv[1], "true") == 0)
        return 0;
    if (argc == 2 && strcmp(argv[1], "sleep") == 0)
        for (;;)
            pause();
    if (argc == 3 && strcmp(argv[1], "spam") == 0)
        return spam(atoll(argv[2]));
    return 2;
}
