/*
 * Starts plugins for the benchmark and times them. A process of its own, small
 * and static, because a fork costs what its parent's memory costs, and because
 * a hundred processes can only be released at one instant if they all exist.
 *
 * Build:  gcc -O2 -static -Wall -Wextra -Werror -o starter starter.c
 *
 *   starter namespaces FOLDER COUNT   network namespaces FOLDER/0 ... FOLDER/COUNT-1
 *   starter series < JOBS             one job after the other
 *   starter burst < JOBS              all jobs at the same instant
 *
 * A job is a line with fields between tabs: program, file for standard input,
 * file for standard output, environment (NAME=value) as often as needed. For
 * each job, in the order of the jobs, a line is printed: exit code (128 + signal
 * when killed), nanoseconds from its release before exec to its end as the parent
 * sees it, microseconds of CPU time of it and its children, and its peak memory
 * in KiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	MOST_JOBS = 4096,
	MOST_FIELDS = 64,
	SETTLE_MICROSECONDS = 20000,  /* between the last fork of a burst and its release */
};

struct job {
	char *program, *in, *out;
	char *environment[MOST_FIELDS];
	pid_t pid;
	int status;
	int64_t nanoseconds;
	struct rusage usage;
};

static struct job jobs[MOST_JOBS];

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "starter: failed to %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* ---- namespaces ---- */

static int make_namespaces(const char *folder, int count)
{
	char path[4096];

	for (int i = 0; i < count; i++) {
		int fd;

		snprintf(path, sizeof path, "%s/%d", folder, i);
		fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
		if (fd < 0)
			fail("make the file of a namespace");
		close(fd);
		if (unshare(CLONE_NEWNET))
			fail("make a network namespace");
		if (mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL))
			fail("keep a network namespace");
	}
	return 0;
}

/* ---- jobs ---- */

static int read_jobs(void)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	int count = 0;

	while ((length = getline(&line, &room, stdin)) > 0) {
		struct job *job = &jobs[count];
		int fields = 0;
		char *rest = line, *field;

		if (count++ == MOST_JOBS) {
			errno = E2BIG;
			fail("take so many jobs");
		}
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		job->program = strsep(&rest, "\t");
		job->in = strsep(&rest, "\t");
		job->out = strsep(&rest, "\t");
		while ((field = strsep(&rest, "\t")) && fields < MOST_FIELDS - 1)
			job->environment[fields++] = field;
		if (!job->out || field) {
			errno = EINVAL;
			fail("read a job");
		}
		line = NULL;  /* the job keeps it */
		room = 0;
	}
	return count;
}

/* The child: everything but exec is done before it says that it is ready. */
static _Noreturn void wait_and_exec(struct job *job, int ready, int release)
{
	char *arguments[] = {job->program, NULL};
	int in = open(job->in, O_RDONLY), out = open(job->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char byte = 0;

	if (in < 0 || out < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		fail("open the job's files");
	close(in);
	close(out);
	if (write(ready, &byte, 1) != 1)
		_exit(126);
	/* Ends when the parent closes its side. */
	while (read(release, &byte, 1) < 0 && errno == EINTR)
		;
	execve(job->program, arguments, job->environment);
	fprintf(stderr, "starter: failed to execute %s: %s\n", job->program, strerror(errno));
	_exit(127);
}

static void reap(struct job *first, int count, int64_t released)
{
	for (int left = count; left > 0; left--) {
		struct rusage usage;
		int status;
		pid_t pid = wait4(-1, &status, 0, &usage);
		int64_t end = now();

		if (pid < 0)
			fail("wait for a job");
		for (struct job *job = first; job < first + count; job++) {
			if (job->pid != pid)
				continue;
			job->status = status;
			job->usage = usage;
			job->nanoseconds = end - released;
			job->pid = 0;
			break;
		}
	}
}

static void run(struct job *first, int count)
{
	int ready[2], release[2];
	int64_t released;
	char byte;

	if (pipe2(ready, O_CLOEXEC) || pipe2(release, O_CLOEXEC))
		fail("make a pipe");
	for (struct job *job = first; job < first + count; job++) {
		job->pid = fork();
		if (job->pid < 0)
			fail("fork");
		if (!job->pid) {
			close(release[1]);
			wait_and_exec(job, ready[1], release[0]);
		}
	}
	close(ready[1]);
	for (int i = 0; i < count; i++)
		if (read(ready[0], &byte, 1) != 1)
			fail("wait until a job is ready");
	if (count > 1)
		usleep(SETTLE_MICROSECONDS);
	/* Whoever ends is to be seen at once, not when the others leave a processor. */
	setpriority(PRIO_PROCESS, 0, -20);
	released = now();
	close(release[1]);
	reap(first, count, released);
	setpriority(PRIO_PROCESS, 0, 0);  /* what is started next inherits it */
	close(ready[0]);
	close(release[0]);
}

static int64_t microseconds(struct timeval t)
{
	return t.tv_sec * 1000000ll + t.tv_usec;
}

static void report(int count)
{
	for (struct job *job = jobs; job < jobs + count; job++) {
		int code = WIFSIGNALED(job->status) ? 128 + WTERMSIG(job->status)
						    : WEXITSTATUS(job->status);

		printf("%d %lld %lld %ld\n", code, (long long)job->nanoseconds,
		       (long long)(microseconds(job->usage.ru_utime) +
				   microseconds(job->usage.ru_stime)),
		       job->usage.ru_maxrss);
	}
}

int main(int argc, char **argv)
{
	int count;

	if (argc == 4 && !strcmp(argv[1], "namespaces"))
		return make_namespaces(argv[2], atoi(argv[3]));
	if (argc != 2 || (strcmp(argv[1], "series") && strcmp(argv[1], "burst"))) {
		fprintf(stderr, "usage: starter namespaces FOLDER COUNT | series | burst\n");
		return 2;
	}
	count = read_jobs();
	if (!strcmp(argv[1], "burst"))
		run(jobs, count);
	else
		for (int i = 0; i < count; i++)
			run(&jobs[i], 1);
	report(count);
	return 0;
}
