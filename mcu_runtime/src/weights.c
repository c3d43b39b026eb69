/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening weight blobs. Everything in a blob is untrusted until hwcmp_weights_open() has read it once.
 */
#include "hwcmp_format_ops.h"

/* The null at the end keeps the table valid C when a project compiles in no format at all. */
static const struct {
    uint8_t id, layout;
    const struct hwcmp_format_ops *ops;
} formats[] = {
#define HWCMP_WEIGHT_FORMAT(id, NAME, name, kind) {(id), HWCMP_LAYOUT_CANONICAL, &hwcmp_##name##_format},
#define HWCMP_WEIGHT_LAYOUT(id, LAYOUT, NAME, name) {(id), HWCMP_LAYOUT_##LAYOUT, &hwcmp_##name##_format},
#include "hwcmp/hwcmp_format.def"
    {0, 0, NULL},
};

typedef uint8_t header_u8;
typedef uint16_t header_u16;
typedef uint32_t header_u32;

struct header {
#define HWCMP_HEADER_FIELD(offset, type, name) header_##type name;
#include "hwcmp/hwcmp_format.def"
};

static uint8_t load_u8(const uint8_t *bytes)
{
    return bytes[0];
}

static uint16_t load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | ((uint32_t)bytes[1] << 8));
}

static uint32_t load_u32(const uint8_t *bytes)
{
    return (uint32_t)load_u16(bytes) | ((uint32_t)load_u16(bytes + 2) << 16);
}

static struct header load_header(const uint8_t *blob)
{
    struct header header = {
#define HWCMP_HEADER_FIELD(offset, type, name) .name = load_##type(blob + (offset)),
#include "hwcmp/hwcmp_format.def"
    };

    return header;
}

/* The format in this layout, or null; `known`: whether the format occurs in any layout. */
static const struct hwcmp_format_ops *find_format(uint8_t id, uint8_t layout, bool *known)
{
    *known = false;
    for (size_t i = 0; formats[i].ops != NULL; i++) {
        if (formats[i].id == id) {
            *known = true;
            if (formats[i].layout == layout) {
                return formats[i].ops;
            }
        }
    }
    return NULL;
}

/* Every rule that needs the header alone, but for the length of the payload. */
static hwcmp_status check_header(const struct header *header, const struct hwcmp_format_ops **ops)
{
    bool known;

    *ops = find_format(header->format, header->layout, &known);
    if (!known) {
        return HWCMP_ERR_FORMAT;
    }
    if (header->version != HWCMP_FORMAT_VERSION) {
        return HWCMP_ERR_VERSION;
    }
    if (*ops == NULL) {
        return HWCMP_ERR_LAYOUT;
    }
    if (header->reserved != 0U || header->rows == 0U || header->row_length == 0U ||
        header->row_length > HWCMP_MAX_ROW_LENGTH || header->payload_bytes % HWCMP_SECTION_ALIGN != 0U) {
        return HWCMP_ERR_HEADER;
    }
    return HWCMP_OK;
}

hwcmp_status hwcmp_weights_view(const uint8_t *blob, size_t blob_bytes, hwcmp_weights *out)
{
    if (blob == NULL || out == NULL || (uintptr_t)blob % HWCMP_SECTION_ALIGN != 0U) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (blob_bytes < HWCMP_HEADER_BYTES) {
        return HWCMP_ERR_TRUNCATED;
    }
    const struct header header = load_header(blob);
    const struct hwcmp_format_ops *ops;
    const hwcmp_status status = check_header(&header, &ops);
    if (status != HWCMP_OK) {
        return status;
    }
    if (blob_bytes - HWCMP_HEADER_BYTES != header.payload_bytes) {
        return blob_bytes - HWCMP_HEADER_BYTES < header.payload_bytes ? HWCMP_ERR_TRUNCATED : HWCMP_ERR_PAYLOAD;
    }
    out->ops = ops;
    out->payload = blob + HWCMP_HEADER_BYTES;
    out->payload_bytes = header.payload_bytes;
    out->row_length = header.row_length;
    out->rows = header.rows;
    out->layout = header.layout;
    out->param = header.param;
    return HWCMP_OK;
}

hwcmp_status hwcmp_weights_open(const uint8_t *blob, size_t blob_bytes, hwcmp_weights *out)
{
    hwcmp_weights weights;

    if (out == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    hwcmp_status status = hwcmp_weights_view(blob, blob_bytes, &weights);
    if (status == HWCMP_OK) {
        status = weights.ops->check(&weights);
    }
    if (status == HWCMP_OK) {
        *out = weights;
    }
    return status;
}

hwcmp_status hwcmp_weights_unpack(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count,
                                  uint32_t row_stride, int8_t *out)
{
    if (weights == NULL || out == NULL || weights->ops == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (first_row > weights->rows || row_count > weights->rows - first_row || row_stride < weights->row_length) {
        return HWCMP_ERR_ARGUMENT;
    }
    weights->ops->unpack_rows(weights, first_row, row_count, row_stride, out);
    return HWCMP_OK;
}
