/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program with USDT probes and nothing else: no libc, no sdt.h. Every
 * millisecond it passes test:tick, which has a semaphore, and test:always, which
 * has none. Built by build.sh; the result is committed, for tests on machines
 * and VMs without a compiler.
 */
#ifdef __aarch64__
	.globl _start
	.text
_start:
	mov x19, #0         /* ticks */
	adrp x20, values
	add x20, x20, :lo12:values
1:
	add x19, x19, #1
	str x19, [x20, #8]
	mov w0, #-7
	adrp x1, tick_semaphore
	add x1, x1, :lo12:tick_semaphore
	ldrh w1, [x1]
	cbz w1, 2f
tick:
	nop
2:
always:
	nop
	mov x8, #101        /* nanosleep */
	adrp x0, pause
	add x0, x0, :lo12:pause
	mov x1, #0
	svc #0
	b 1b
#else
	.intel_syntax noprefix
	.globl _start
	.text
_start:
	mov r12, 0          /* ticks */
	lea rbx, [rip + values]
1:
	inc r12
	mov qword ptr [rbx + 8], r12
	mov eax, -7
	cmp word ptr [rip + tick_semaphore], 0
	je 2f
tick:
	nop
2:
always:
	nop
	mov eax, 35         /* nanosleep */
	lea rdi, [rip + pause]
	xor esi, esi
	syscall
	jmp 1b
#endif

	.section .rodata
pause:	.quad 0, 1000000

	.data
	.balign 8
values:	.long 0xfffffffe, 0x11223344
	.quad 0
	.short 0x8001, 0

	.section .probes, "aw", @progbits
	.balign 2
	.zero 2
tick_semaphore:
	.zero 2

	.section .stapsdt.base, "aG", @progbits, .stapsdt.base, comdat
	.weak _.stapsdt.base
_.stapsdt.base:
	.space 1

	.macro probe location, semaphore, name, arguments
	.balign 4
	.long 992f - 991f, 994f - 993f, 3
991:	.asciz "stapsdt"
992:	.balign 4
993:	.quad \location, _.stapsdt.base, \semaphore
	.asciz "test"
	.asciz "\name"
	.asciz "\arguments"
994:	.balign 4
	.endm

	.section .note.stapsdt, "", @note
#ifdef __aarch64__
	probe tick, tick_semaphore, tick, "8@x19 -4@w0 4@w0 -4@[x20] 4@[x20, 4] 8@[x20, 8] -2@[x20, 16] -4@-5"
	probe always, 0, always, "8@x19"
#else
	probe tick, tick_semaphore, tick, "8@%r12 -4@%eax 4@%eax -4@(%rbx) 4@4(%rbx) 8@8(%rbx) -2@16(%rbx) -4@$-5"
	probe always, 0, always, "8@%r12"
#endif
