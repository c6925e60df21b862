/* gcc -nostdlib -static -Wl,--eh-frame-hdr -Wl,-z,max-page-size=512 -Wl,-z,noseparate-code -o tiny.elf tiny.s: the seed of FuzzFile */
.globl _start
.type _start,@function
_start: .cfi_startproc
 .cfi_undefined rip
 call f
 .cfi_endproc
.size _start,.-_start
.type f,@function
f: .cfi_startproc
 push %rbx
 .cfi_def_cfa_offset 16
 nop
 pop %rbx
 .cfi_def_cfa_offset 8
 ret
 .cfi_endproc
.size f,.-f
