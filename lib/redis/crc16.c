#include "redis/redis.h"

/* CRC-16/XMODEM: polynomial 0x1021, start 0, nothing reflected (Redis Cluster specification,
 * appendix A). Half a byte at a time: a table of 16 stays in one cache line. */
static const uint16_t table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
};

uint16_t redis_crc16(struct slice bytes)
{
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned byte = (unsigned char)bytes.ptr[i];
        crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ byte >> 4) & 15];
        crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ byte) & 15];
    }
    return (uint16_t)crc;
}
