DefinitionBlock ("", "SSDT", 2, "CLNSFE", "CLONEVM ", 0x00000001)
{
    Device (\_SB.VGEN)
    {
        Name (_HID, "VMGENCTR")  // _HID: Hardware ID
        Name (_CID, "VM_Gen_Counter")  // _CID: Compatible ID
        Name (_DDN, "VM_Gen_Counter")  // _DDN: DOS Device Name
        Name (ADDR, Package (0x02)
        {
            0x34567000, 
            0x12
        })
    }

    Device (\_SB.VCLK)
    {
        Name (_HID, "AMZNC10C")  // _HID: Hardware ID
        Name (_CID, "VMCLOCK")  // _CID: Compatible ID
        Name (_DDN, "VMCLOCK")  // _DDN: DOS Device Name
        Name (_STA, 0x0F)  // _STA: Status
        Name (_CRS, ResourceTemplate ()  // _CRS: Current Resource Settings
        {
            QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                0x0000000000000000, // Granularity
                0x0000001234568000, // Range Minimum
                0x0000001234568FFF, // Range Maximum
                0x0000000000000000, // Translation Offset
                0x0000000000001000, // Length
                ,, , AddressRangeMemory, TypeStatic)
        })
    }

    Device (\_SB.VRST)
    {
        Name (_HID, "CLNS0001")  // _HID: Hardware ID
        Name (_DDN, "clonesafe restore page")  // _DDN: DOS Device Name
        Name (_STA, 0x0F)  // _STA: Status
        Name (_CRS, ResourceTemplate ()  // _CRS: Current Resource Settings
        {
            QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                0x0000000000000000, // Granularity
                0x0000001234569000, // Range Minimum
                0x000000123456AFFF, // Range Maximum
                0x0000000000000000, // Translation Offset
                0x0000000000002000, // Length
                ,, , AddressRangeMemory, TypeStatic)
        })
    }

    Device (\_SB.CSGE)
    {
        Name (_HID, "ACPI0013" /* Generic Event Device */)  // _HID: Hardware ID
        Name (_CRS, ResourceTemplate ()  // _CRS: Current Resource Settings
        {
            Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )
            {
                0x00000009,
            }
            Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )
            {
                0x00000011,
            }
        })
        Method (_EVT, 1, Serialized)  // _EVT: Event
        {
            If ((Arg0 == 0x09))
            {
                Notify (\_SB.VGEN, 0x80) // Status Change
            }

            If ((Arg0 == 0x11))
            {
                Notify (\_SB.VCLK, 0x80) // Status Change
            }
        }
    }
}

