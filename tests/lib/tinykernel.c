// SPDX-License-Identifier: MIT
/* Multiboot kernels of a few bytes. */
#include "tinykernel.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

enum { LOAD = 0x100000, MAX_FILES = 16 };

static char *files[MAX_FILES];
static unsigned nr_files;

static void remove_files(void)
{
	while (nr_files) {
		unlink(files[--nr_files]);
		free(files[nr_files]);
	}
}

static int make_file(const char **name)
{
	char *path = strdup("/tmp/nestor-test-XXXXXX");
	int fd = mkstemp(path);

	CHECK(fd >= 0 && nr_files < MAX_FILES);
	if (!nr_files)
		atexit(remove_files);
	files[nr_files++] = path;
	*name = path;
	return fd;
}

const char *tiny_kernel(const void *code, size_t size)
{
	static u8 image[512];
	Elf32_Ehdr *eh = (void *)image;
	Elf32_Phdr *ph = (void *)(image + sizeof(*eh));
	const u32 magic = 0x1badb002, header[3] = { magic, 0, -magic };
	const char *path;

	memset(image, 0, sizeof(image));
	*eh = (Elf32_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_386, .e_version = EV_CURRENT,
		.e_entry = TINY_CODE, .e_phoff = sizeof(*eh), .e_ehsize = sizeof(*eh),
		.e_phentsize = sizeof(*ph), .e_phnum = 1,
	};
	*ph = (Elf32_Phdr){ .p_type = PT_LOAD, .p_vaddr = LOAD, .p_paddr = LOAD,
			    .p_filesz = sizeof(image), .p_memsz = 8192, .p_flags = PF_R | PF_X };
	memcpy(image + 0x80, header, sizeof(header));
	memcpy(image + TINY_CODE - LOAD, code, size);
	int fd = make_file(&path);
	CHECK_EQ(write(fd, image, sizeof(image)), sizeof(image));
	close(fd);
	return path;
}

const char *tiny_file(void)
{
	const char *path;

	close(make_file(&path));
	return path;
}
