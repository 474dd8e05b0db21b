/* VMGENID, the Virtual Machine Generation ID: 16 random bytes that change whenever the machine is
 * restored or cloned. UAPI Group specification UAPI.14; matched by Linux drivers/virt/vmgenid.c.
 *
 * The bytes are two little-endian 64-bit words. As text they are a GUID whose first three fields
 * are little-endian in memory. They are unique, not secret.
 *
 * C11 and C++17. Nothing here does anything; thread-, fork- and clone-safety do not apply.
 */
#ifndef CLONESAFE_ABI_VMGENID_H_
#define CLONESAFE_ABI_VMGENID_H_

#define CLONESAFE_VMGENID_SIZE 16u
/* Linux before 6.10 matches only _HID, and only these two strings (UAPI.14 leaves _HID to the
 * vendor). */
#define CLONESAFE_VMGENID_HID "VMGENCTR"
#define CLONESAFE_VMGENID_CID "VM_Gen_Counter"
/* The offset of the id in the page that QEMU's firmware allocates for it. */
#define CLONESAFE_VMGENID_QEMU_OFFSET 40u

#endif /* CLONESAFE_ABI_VMGENID_H_ */
