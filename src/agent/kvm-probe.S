# The code of the KVM probe (kvm-probe.ts keeps its bytes). Made with:
#   gcc -c kvm-probe.S -o p.o && objcopy -O binary -j .text p.o p.bin && base64 -w0 p.bin
# It says how far it gets (1 to 4) on QEMU's debug port 0x402.
.code16
.org 0
start:
 cli
 mov $0x0402,%dx ; mov $'1',%al ; out %al,%dx
 lgdtl %cs:(gdtr-start)
 mov %cr0,%eax ; or $1,%eax ; mov %eax,%cr0
 ljmpl $8,$(0xf0000+p32-start)
.code32
p32:
 mov $16,%ax ; mov %ax,%ds ; mov %ax,%es ; mov %ax,%ss ; mov $0x8000,%esp
 mov $0x0402,%dx ; mov $'2',%al ; out %al,%dx
 xor %eax,%eax ; mov $0x1000,%edi ; mov $0xc00,%ecx ; cld ; rep stosl   # 3 pages
 movl $0x2003,0x1000 ; movl $0x3003,0x2000 ; movl $0x83,0x3000          # identity, one 2 MiB page
 mov $0x1000,%eax ; mov %eax,%cr3
 mov %cr4,%eax ; or $0x20,%eax ; mov %eax,%cr4
 mov $0xc0000080,%ecx ; rdmsr ; or $0x100,%eax ; wrmsr
 mov %cr0,%eax ; or $0x80000000,%eax ; mov %eax,%cr0
 ljmp $24,$(0xf0000+p64-start)
.code64
p64:
 mov $0x0402,%dx ; mov $'3',%al ; out %al,%dx
 mov $3000000,%ecx
1: incq 0x4000 ; dec %ecx ; jnz 1b
 mov $'4',%al ; out %al,%dx
 mov $0x501,%dx ; mov $0x2a,%al
 cmpq $3000000,0x4000 ; je 2f ; mov $0x15,%al
2: out %al,%dx
3: hlt ; jmp 3b
.align 8
gdt: .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00af9a000000ffff
gdtr: .word 31 ; .long 0xf0000+gdt-start
