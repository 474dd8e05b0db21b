/* The agent's protocol with its host over vsock: names and limits. docs/protocols/host.md is the
 * specification. JSON objects, one a line, UTF-8, at most CLONESAFE_HOST_LINE_MAX bytes with the
 * newline. The guest connects to CID 2; with a Firecracker-style host end that is the Unix socket
 * PATH_17228.
 *
 * C11 and C++17.
 */
#ifndef CLONESAFE_ABI_HOST_PROTOCOL_H_
#define CLONESAFE_ABI_HOST_PROTOCOL_H_

#define CLONESAFE_HOST_PROTOCOL_VERSION 1
#define CLONESAFE_HOST_VSOCK_PORT 17228u /* 0x434c, "CL" */
#define CLONESAFE_HOST_LINE_MAX 65536u
#define CLONESAFE_HOST_METADATA_MAX 24576u /* bytes, of which some need more than one in a line */

#endif /* CLONESAFE_ABI_HOST_PROTOCOL_H_ */
